"""Section Correct: paint and erase on the tumour layer; every stroke is saved as it ends."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QSpinBox

from napari_breastseg.case import slab
from napari_breastseg.errors import InputError
from napari_breastseg.loop.approval import CASE_TOOL, SLICE_TOOL, approved_case
from napari_breastseg.loop.recorder import Edited, Mark, Step
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.journal import StrokeJournal
from napari_breastseg.widgets.parts.places import Places
from napari_breastseg.widgets.parts.refine import Refine
from napari_breastseg.widgets.parts.section import Section, button, row, text
from napari_breastseg.widgets.parts.shape import ShapeTools

AXES = "zyx"


class CorrectSection(Section):
    """Tools for the tumour layer, undo across restarts, and marks for what was looked at."""

    def __init__(self, desk: Desk) -> None:
        super().__init__("4 · Correct", desk)
        self.paint = button("Paint", "Add tumour with the brush (key 2)", lambda: self._take("paint"), checkable=True)
        self.erase = button("Erase", "Mark healthy tissue with the eraser (key 1)", lambda: self._take("erase"), checkable=True)
        self.tools = QButtonGroup(self)
        self.tools.addButton(self.paint)
        self.tools.addButton(self.erase)
        self.brush = QSpinBox()
        self.brush.setRange(1, 80)
        self.brush.setValue(8)
        self.brush.setSuffix(" voxels")
        self.brush.setToolTip("Width of the brush; the keys [ and ] change it too")
        self.ball = QCheckBox("3-D brush")
        self.ball.setToolTip("Paint a ball through several slices instead of a disc in one")
        self.undo = button("Undo", "Take the last stroke back (Ctrl+Z), also one from before a restart", lambda: self._step("undo"))
        self.redo = button("Redo", "Take the last undo back (Ctrl+Shift+Z)", lambda: self._step("redo"))
        self.places = Places(desk, self.say)
        self.shape = ShapeTools(desk, self.say)
        self.refine = Refine(desk)
        self.saved = text("")
        self.saved.setToolTip("Strokes are written to the disk one by one; after 'saved' nothing can lose them")
        self.retry = button("Try to save again", "Save the strokes that could not be saved", self._retry)
        self.reviewed = button(
            "Slice reviewed", "Say that this slice is right as it is shown, everywhere: it is kept as your annotation", self._mark_slice
        )
        tooltip = "Say that the mask is right: it is kept as your annotation, and all else counts as healthy"
        self.case_done = button("Case done", tooltip, self._mark_case, checkable=True)
        self.column.addWidget(self.places)
        self.column.addLayout(row(self.paint, self.erase, self.brush))
        self.column.addLayout(row(self.undo, self.redo, self.ball))
        self.column.addWidget(self.shape)
        self.column.addWidget(self.refine)
        self.column.addLayout(row(self.reviewed, self.case_done))
        self.column.addWidget(self.saved)
        self.column.addWidget(self.retry)
        self.column.addWidget(self.hint)
        self.brush.valueChanged.connect(lambda *_: self._shape_brush())
        desk.saved.connect(self._enable_steps)
        self.ball.toggled.connect(lambda *_: self._shape_brush())
        self._journal: StrokeJournal | None = None
        self._layer: Labels | None = None
        self._go_on = False
        """Whether the next slice is wanted once this one is known to be reviewed."""
        self.refresh()

    def leave(self) -> None:
        """Stop listening to the layer."""
        self._watch_layer(None)
        self.shape.leave()
        self.places.leave()

    def refresh(self) -> None:
        """Follow the desk to its case and tumour layer."""
        desk = self.desk
        self._watch_layer(None if desk.painter is None else desk.painter.layer)
        self._watch_journal(desk.journal)
        ready = desk.painter is not None and not desk.read_only
        for control in (self.paint, self.erase, self.brush, self.ball, self.reviewed, self.case_done):
            control.setEnabled(ready)
        flat = desk.view is not None and desk.view.case.flat
        for control in (self.ball, self.reviewed):  # an image is one slice
            control.setVisible(not flat)
        self.brush.setSuffix(" pixels" if flat else " voxels")
        self.shape.refresh()
        self.places.refresh()
        self._enable_steps()
        if desk.view is None:
            self.say("Choose a case first.")
        elif desk.read_only:
            self.say("Corrections can only be looked at: the session is open elsewhere.")
        elif not desk.predicted:
            self.say("Predict first, or paint the tumour from scratch.")
        else:
            self.say("")

    def accept(self) -> None:
        """Call the slice reviewed and go to the next one to check; an image is one slice, and done."""
        if self.desk.view is not None and self.desk.view.case.flat:
            self.case_done.click()
        elif self.reviewed.isEnabled():
            self._mark_slice(go_on=True)

    def show_tumour(self) -> None:
        """Show the tumour, or hide it."""
        layer = self.desk.tumour_layer()
        if layer is not None:
            layer.visible = not layer.visible

    def outline(self) -> None:
        """Draw the tumour as an outline, or filled."""
        layer = self.desk.tumour_layer()
        if layer is not None:
            layer.contour = 0 if layer.contour else 1

    def _enable_steps(self, _: object = None) -> None:
        for step in (self.undo, self.redo):
            step.setEnabled(self.desk.corrected and not self.desk.read_only)
        self.refine.refresh()

    def _watch_layer(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._enable_steps)
            self._layer.events.mode.disconnect(self._on_mode)
            self._layer.events.brush_size.disconnect(self._on_brush)
            self._layer.events.n_edit_dimensions.disconnect(self._on_ball)
        self._layer = layer
        if layer is not None:
            layer.events.paint.connect(self._enable_steps, position="last")
            layer.events.mode.connect(self._on_mode)
            layer.events.brush_size.connect(self._on_brush)
            layer.events.n_edit_dimensions.connect(self._on_ball)
            self._shape_brush()
        self._on_mode()

    def _watch_journal(self, journal: StrokeJournal | None) -> None:
        if journal is self._journal:
            return
        self._journal, self._go_on = journal, False
        self.refine.on_case()
        self.shape.on_case()
        self.places.on_case()
        self.retry.setVisible(False)
        self.saved.setText("")
        if journal is None:
            return
        journal.changed.connect(lambda *_: self.refine.on_steps())
        journal.saved.connect(self._on_saved)
        journal.failed.connect(self._on_failed)
        journal.nothing.connect(self._on_nothing)
        journal.marked.connect(self._on_marked)
        self._on_saved(journal.seq)
        self.case_done.setChecked(self.desk.done)

    def _take(self, mode: str) -> None:
        layer = self.desk.tumour_layer()
        if layer is None:
            raise InputError("There is no tumour layer yet. Choose a case first.")
        self.desk.viewer.layers.selection.active = layer
        layer.visible = True
        layer.selected_label = 1
        layer.mode = mode
        self._on_mode()

    def _shape_brush(self) -> None:
        if self._layer is not None:
            self._layer.brush_size = self.brush.value()
            self._layer.n_edit_dimensions = 3 if self.ball.isChecked() else 2

    def _on_brush(self, event: object = None) -> None:
        if self._layer is not None:
            self.brush.setValue(round(self._layer.brush_size))

    def _on_ball(self, event: object = None) -> None:
        if self._layer is not None:
            self.ball.setChecked(self._layer.n_edit_dimensions == 3)

    def _on_mode(self, event: object = None) -> None:
        mode = "" if self._layer is None else str(self._layer.mode)
        if mode != "pan_zoom":
            self.shape.put_down()
        self.tools.setExclusive(False)
        self.paint.setChecked(mode == "paint")
        self.erase.setChecked(mode == "erase")
        self.tools.setExclusive(True)

    def _step(self, which: str) -> None:
        painter = self.desk.painter
        if painter is not None:
            self.say("")
            painter.undo() if which == "undo" else painter.redo()

    def _retry(self) -> None:
        if self._journal is not None:
            self._journal.retry()

    def _on_saved(self, seq: int) -> None:
        waiting = 0 if self._journal is None else self._journal.unsaved
        self.retry.setVisible(False)
        self.saved.setText("No strokes yet." if not seq else f"saved #{seq}" + (f", {waiting} on their way" if waiting else ""))

    def _on_nothing(self, item: Edited) -> None:
        if isinstance(item, Step):
            self.say(f"There is nothing to {item.which}.")

    def _on_failed(self, error: Exception) -> None:
        waiting = 0 if self._journal is None else self._journal.unsaved
        if waiting:
            self.saved.setText(f"<b>{waiting} stroke(s) not saved yet.</b> They stay on the layer.")
            self.retry.setVisible(True)

    def _mark_slice(self, go_on: bool = False) -> None:
        view = self.desk.view
        axis = None if view is None else view.slice_axis()
        if view is None or axis is None:
            raise InputError("This view shows no single slice. Show two of the axes z, y and x in the 2-D view first.")
        index, painter = view.slice_index(axis), self.desk.painter
        if painter is not None:
            box = slab(view.case.shape, axis, index, index + 1)
            painter.approve(box, np.ones([high - low for low, high in box], bool), SLICE_TOOL)
        self._go_on = go_on
        self._mark(Mark("slice-reviewed", {"axis": axis, "index": index}))

    def _mark_case(self) -> None:
        view, painter, done = self.desk.view, self.desk.painter, self.case_done.isChecked()
        if done and view is not None and painter is not None:
            painter.approve(*approved_case(painter.layer.data, painter.annotation, view.case.geometry), CASE_TOOL)
        self._mark(Mark("case-done", done))

    def _mark(self, mark: Mark) -> None:
        if self._journal is not None:
            self._journal.add(mark)

    def _on_marked(self, mark: Mark) -> None:
        if mark.what == "slice-reviewed" and self._go_on:
            self._go_on = False
            self.places.slice(1)
        elif mark.what == "slice-reviewed":
            self.say(f"Slice {AXES[mark.value['axis']]} = {mark.value['index']} is reviewed.")
        else:
            taken_back = self.case_done.isChecked()  # by an undo, not with the button
            self.case_done.setChecked(mark.value)
            self.refine.refresh()
            open_again = "The case is open again." if taken_back else "The case is open again; what was approved stays your annotation."
            self.say("The case is done. Learn from it, or open the next." if mark.value else open_again)
