"""Tools that shape the tumour by more than a brush; each use is one step that undo takes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_breastseg.case import BACKGROUND, UNDECIDED, Box, whole
from napari_breastseg.editing.between import between
from napari_breastseg.editing.edges import snap
from napari_breastseg.editing.grow import grow, reach
from napari_breastseg.editing.shape import copied, filled, smooth
from napari_breastseg.editing.spots import keep_spot, remove_spot
from napari_breastseg.errors import InputError
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import told
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.section import button, row, text
from napari_breastseg.widgets.view.case_view import CaseView
from napari_breastseg.widgets.view.clicks import Clicks
from napari_breastseg.widgets.view.painting import TumourPainter

if TYPE_CHECKING:
    from napari_breastseg.editing.change import Change

Index = tuple[int, int, int]
Mask = npt.NDArray[np.uint8]

GROW_REACH = 60.0
"""How far (mm) a region may grow from a click: larger than nearly all tumours, smaller than a breast."""
PIXELS_PER_MM = 10.0
"""Taken of an image whose scale is unknown; ultrasound and mammograms have about as many."""
SLICE, CASE = "in this slice", "in the case"


class ShapeTools(QWidget):
    """Fill between slices, copy, grow, pick regions, snap, smooth and fill holes.

    What a tool finds is worked out on a thread, from a copy of the mask; strokes that are painted meanwhile stay.

    Parameters
    ----------
    desk : Desk
    say : callable
        Tells a sentence.
    """

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        super().__init__()
        self._desk, self._say = desk, say
        self._clicks = Clicks(desk.viewer)
        self._came_from: tuple[int, int] | None = None
        self._at: tuple[int, int] | None = None
        self.reading = Reading()
        self.between = button(
            "Fill between slices", "Paint or correct the tumour in a few slices; this fills those between them", self._fill_between
        )
        self.copy = button("Copy last slice", "Add the tumour of the slice that you looked at before this one", self._copy)
        self.grow = self._click_tool(
            "Grow from a click", "Then click: adds the region around that place in which the model thinks tumour possible", self._grow
        )
        self.down_to = QSpinBox()
        self.down_to.setRange(5, 95)
        self.down_to.setValue(50)
        self.down_to.setSingleStep(5)
        self.down_to.setSuffix(" %")
        self.down_to.setToolTip("How far it grows: as long as the probability is more than this part of that under the click")
        self.remove = self._click_tool("Remove a region", "Then click on tumour: that region goes", self._remove)
        self.keep = self._click_tool("Keep one region", "Then click on tumour: all other regions go", self._keep)
        self.snap = button("Snap to edges", "Let the border fall on the edges of the image that is shown, near where it is", self._snap)
        self.smooth = button("Smooth", "Smooth the border; the size stays", self._smooth)
        self.holes = button("Fill holes", "Fill what tumour encloses", self._fill_holes)
        self.scope = QComboBox()
        self.scope.addItems([SLICE, CASE])
        self.scope.setToolTip("Where growing, picking regions, snapping, smoothing and filling holes work")
        self.near = QDoubleSpinBox()
        self.near.setRange(0.5, 50)
        self.near.setDecimals(1)
        self.near.setToolTip("How far snapping moves a border at most; smoothing evens out what is smaller than half of it")
        self.hint = text("")
        self.hint.setVisible(False)
        inner = self.inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(row(self.between, self.copy))
        column.addLayout(row(self.grow, self.down_to, stretch=0))
        column.addLayout(row(self.remove, self.keep))
        column.addLayout(row(self.snap, self.near, stretch=0))
        column.addLayout(row(self.smooth, self.holes, self.scope))
        column.addWidget(self.hint)
        inner.setVisible(False)
        self.more = button("More tools", "Shape the tumour by more than a brush", self._unfold, checkable=True)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(5)
        outer.addWidget(self.more)
        outer.addWidget(inner)
        self.reading.ended.connect(self.refresh)
        desk.viewer.dims.events.point.connect(self._on_slice)
        desk.viewer.dims.events.order.connect(self._on_slice)

    def leave(self) -> None:
        """Listen to the viewer no more."""
        self._clicks.ask(None)
        self.reading.close()
        self._desk.viewer.dims.events.point.disconnect(self._on_slice)
        self._desk.viewer.dims.events.order.disconnect(self._on_slice)

    def refresh(self) -> None:
        """Enable what can be done with the case in front of the person."""
        desk = self._desk
        ready = desk.painter is not None and not desk.read_only
        self.inner.setEnabled(ready)
        self.grow.setEnabled(desk.predicted)
        self.down_to.setEnabled(desk.predicted)
        flat = desk.view is not None and desk.view.case.flat
        self.between.setVisible(not flat)
        self.copy.setVisible(not flat)
        self.scope.setVisible(not flat)

    def on_case(self) -> None:
        """Begin with another case: no tool is in the person's hand."""
        self.reading.forget()
        self.put_down()
        self._came_from = self._at = None
        view = self._desk.view
        if view is not None:
            known = view.case.geometry.unit == "mm"
            self.near.setSuffix(" mm" if known else " pixels")
            self.near.setValue(3.0 if known else 3.0 * PIXELS_PER_MM)
            self._on_slice()

    def _unfold(self) -> None:
        self.inner.setVisible(self.more.isChecked())
        if not self.more.isChecked():
            self.put_down()

    def put_down(self) -> None:
        """Take no more clicks."""
        for tool in (self.grow, self.remove, self.keep):
            tool.setChecked(False)
        self._clicks.ask(None)
        self.hint.setVisible(False)

    def _click_tool(self, label: str, tooltip: str, act: Callable[[Index], None]) -> QPushButton:
        def pressed() -> None:
            chosen = made.isChecked()
            self.put_down()
            if chosen:
                self._take_up(made, act)

        made = button(label, tooltip, pressed, checkable=True)
        return made

    def _take_up(self, tool: QPushButton, act: Callable[[Index], None]) -> None:
        """Take the next clicks for a tool; the brush is put down for it."""
        layer = self._desk.tumour_layer()
        if layer is None:
            raise InputError("There is no tumour layer yet. Choose a case first.")
        layer.mode = "pan_zoom"
        layer.visible = True
        tool.setChecked(True)
        safe = told(lambda position: self._on_click(act, position))
        self._clicks.ask(lambda position: safe(position))
        self.hint.setText("Click into the image. Press the button again, or take up the brush, to stop.")
        self.hint.setVisible(True)

    def _on_click(self, act: Callable[[Index], None], position: tuple[float, ...]) -> None:
        at = None if self._desk.view is None else self._desk.view.voxel_at(position)
        if at is not None:
            act(at)

    def _fill_between(self) -> None:
        view, painter = self._open()
        axis, mask, said = self._axis(view), painter.layer.data.copy(), painter.annotation != UNDECIDED
        nothing = "There are no slices to fill: paint or correct the tumour in two slices, with others between, where it overlaps itself."
        self._do(lambda: between(mask, said, axis, view.case.geometry.spacing), "between slices", nothing)

    def _copy(self) -> None:
        view, painter = self._open()
        axis = self._axis(view)
        if self._came_from is None or self._came_from[0] != axis:
            raise InputError("There is no slice to copy from yet. Move to the next slice first.")
        source, target, mask = self._came_from[1], view.slice_index(axis), painter.layer.data.copy()
        nothing = f"Slice {'zyx'[axis]} = {source} has no tumour that is not here already."
        self._do(lambda: copied(mask, axis, source, target), "copy slice", nothing)

    def _grow(self, at: Index) -> None:
        view, painter = self._open()
        probability = view.layer("probability")
        if probability is None:
            raise InputError("There is no prediction to grow through. Predict first.")
        mask, healthy, seen = painter.layer.data.copy(), painter.annotation == BACKGROUND, probability.data
        geometry, down_to = view.case.geometry, self.down_to.value() / 100
        box = reach(at, self._lengths(GROW_REACH), geometry.spacing, self._scope(view))
        self._do(lambda: grow(mask, seen, healthy, at, down_to, box), "grow", "All of this is tumour already.")

    def _remove(self, at: Index) -> None:
        view, painter = self._open()
        mask, box = painter.layer.data.copy(), self._scope(view)
        self._do(lambda: remove_spot(mask, at, box), "remove region", "")

    def _keep(self, at: Index) -> None:
        view, painter = self._open()
        mask, box = painter.layer.data.copy(), self._scope(view)
        self._do(lambda: keep_spot(mask, at, box), "keep region", "There is no other region here.")

    def _snap(self) -> None:
        view, painter = self._open()
        mask, image, width, box = painter.layer.data.copy(), view.shown_image(), self.near.value(), self._scope(view)
        self._do(lambda: snap(mask, image, width, view.case.geometry.spacing, box), "snap", "The border lies on the edges already.")

    def _smooth(self) -> None:
        view, painter = self._open()
        mask, width, box = painter.layer.data.copy(), self.near.value() / 2, self._scope(view)
        self._do(lambda: smooth(mask, width, view.case.geometry.spacing, box), "smooth", "The border is smooth already.")

    def _fill_holes(self) -> None:
        view, painter = self._open()
        mask, box = painter.layer.data.copy(), self._scope(view)
        self._do(lambda: filled(mask, box), "fill holes", "There are no holes.")

    def _do(self, work: Callable[[], Change | None], tool: str, nothing: str) -> None:
        """Work something out on the thread and do it, unless another case is in front of the person by then."""
        painter = self._desk.painter

        def use(change: Change | None) -> None:
            if painter is self._desk.painter and painter is not None:
                done = change is not None and painter.apply(change, tool)
                self._say("" if done else nothing)

        self.reading.ask("tool", work, use)

    def _open(self) -> tuple[CaseView, TumourPainter]:
        desk = self._desk
        if desk.view is None or desk.tumour_layer() is None or desk.painter is None:
            raise InputError("There is no tumour layer yet. Choose a case first.")
        desk.painter.layer.visible = True
        return desk.view, desk.painter

    def _axis(self, view: CaseView) -> int:
        axis = view.slice_axis()
        if axis is None:
            raise InputError("This view shows no single slice. Show two of the axes z, y and x in the 2-D view first.")
        return axis

    def _scope(self, view: CaseView) -> Box:
        if self.scope.currentText() == CASE and not view.case.flat:
            return whole(view.case.shape)
        box = view.slice_box()
        if box is None:
            raise InputError('This view shows no single slice. Choose "in the case", or the 2-D view.')
        return box

    def _lengths(self, mm: float) -> float:
        view = self._desk.view
        return mm if view is None or view.case.geometry.unit == "mm" else mm * PIXELS_PER_MM

    def _on_slice(self, event: object = None) -> None:
        """Remember the slice that was looked at before this one."""
        view = self._desk.view
        axis = None if view is None else view.slice_axis()
        if view is None or axis is None:
            return
        here = axis, view.slice_index(axis)
        if here != self._at:
            self._came_from, self._at = self._at, here
