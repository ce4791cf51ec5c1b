"""Curves that the person pins: in the plot, in a list, and as points in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.layers import Points
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGroupBox, QListWidget, QListWidgetItem, QVBoxLayout

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import describe
from napari_breastseg.kinetics.curves import CURVES
from napari_breastseg.widgets.desk.messages import told
from napari_breastseg.widgets.kinetics.cursor import CursorCurve, Probe
from napari_breastseg.widgets.kinetics.plot import CurvePlot, Drawn
from napari_breastseg.widgets.kinetics.readout import icon
from napari_breastseg.widgets.kinetics.study import OWN_ROLE, Study
from napari_breastseg.widgets.parts.section import button, row
from napari_breastseg.widgets.view.explain_layers import row_colour
from napari_breastseg.widgets.view.layers import GEOMETRY, ROLE, space

KEY = "K"
"""Napari keeps P for painting."""
PINS_ROLE = f"{OWN_ROLE}-pins"
SIZE_MM = 5.0


@dataclass(frozen=True)
class Pin:
    """A curve that was kept; its number also says its colour."""

    number: int
    probe: Probe

    @property
    def colour(self) -> str:
        """Of the curve, the list's spot and the point."""
        return row_colour(self.number)


class PinsPanel(QGroupBox):
    """Pins the curve under the mouse, lists the pins, and leads to them.

    Signals
    -------
    changed
        A pin came or went.
    """

    changed = Signal()

    def __init__(self, study: Study, cursor: CursorCurve, plot: CurvePlot) -> None:
        super().__init__("Pinned curves")
        self._study, self._cursor, self._plot = study, cursor, plot
        self.pins: list[Pin] = []
        self.keep = button(f"Pin this curve ({KEY})", f"Keep the curve under the mouse; or press {KEY} over the image", self.pin)
        self.list = QListWidget()
        self.list.setToolTip("Click on a pin to go there")
        self.list.setFixedHeight(84)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.remove = button("Remove", "Remove the pin that is selected", self._remove)
        self.clear = button("Clear", "Remove all pins", self.forget)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        for line in (row(self.keep, stretch=0), row(self.remove, self.clear)):
            column.addLayout(line)
        column.insertWidget(1, self.list)
        go = told(self._go)
        self.list.itemClicked.connect(lambda item: go(item))
        self.list.currentRowChanged.connect(lambda _: self._enable())
        study.changed.connect(self.forget)
        study.timed.connect(self._describe)
        study.viewer.bind_key(KEY, self._on_key, overwrite=True)
        self._show()

    def leave(self) -> None:
        """Give the key back."""
        self._study.viewer.bind_key(KEY, None, overwrite=True)

    def pin(self) -> None:
        """Keep the curve that is shown under the mouse; once for a place."""
        probe = self._cursor.probe
        if probe is None:
            raise InputError("There is no curve to pin yet. Move the mouse over the image first.")
        if any(pin.probe.index == probe.index for pin in self.pins):
            return
        self.pins.append(Pin(1 + max((pin.number for pin in self.pins), default=0), probe))
        self._show()
        self.list.setCurrentRow(len(self.pins) - 1)

    def forget(self) -> None:
        """Remove all pins."""
        self.pins.clear()
        self._show()

    def _remove(self) -> None:
        place = self.list.currentRow()
        if 0 <= place < len(self.pins):
            del self.pins[place]
            self._show()

    def _on_key(self, viewer: object) -> None:
        told(self.pin)()

    def _go(self, item: QListWidgetItem) -> None:
        self._study.go_to(item.data(Qt.ItemDataRole.UserRole))

    def _show(self) -> None:
        self._plot.show_curves("pin", [Drawn(pin.probe.curve, pin.colour, thin=True) for pin in self.pins])
        self._describe()
        self._mark()
        self.changed.emit()

    def _describe(self) -> None:
        """List the pins by what their curves say."""
        timing, chosen = self._study.timing, self.list.currentRow()
        self.list.clear()
        for pin in self.pins:
            assert timing is not None
            summary = describe(pin.probe.curve.mean, timing, self._study.thresholds)
            kind = "" if summary.type is None else f"{CURVES[summary.type]}, "
            z, y, x = pin.probe.index
            item = QListWidgetItem(icon(pin.colour), f"{pin.number}: {kind}PE {summary.pe:+.0f} %, z {z} y {y} x {x}")
            item.setData(Qt.ItemDataRole.UserRole, pin.probe.index)
            item.setToolTip(f"{summary.words}. Click to go there.")
            self.list.addItem(item)
        self.list.setCurrentRow(min(chosen, len(self.pins) - 1))
        self.list.setVisible(bool(self.pins))
        self._enable()

    def _enable(self) -> None:
        self.remove.setEnabled(0 <= self.list.currentRow() < len(self.pins))
        self.clear.setEnabled(bool(self.pins))

    def _mark(self) -> None:
        """Show the pins as points in the image."""
        case, layer = self._study.case, self._study.own(PINS_ROLE)
        if not self.pins or case is None:
            self._study.remove_own(PINS_ROLE)
            return
        places = np.array([pin.probe.index for pin in self.pins], float)
        if layer is None:
            where = space(case.geometry)
            size = SIZE_MM / float(np.mean(where["scale"]))
            known = {ROLE: PINS_ROLE, GEOMETRY: case.geometry}
            layer = Points(ndim=3, name="Pinned curves", size=size, border_color="black", metadata=known, **where)
            self._study.add(layer, below=False)
        layer.data = places
        layer.face_color = [pin.colour for pin in self.pins]
        layer.features = {"pin": [pin.number for pin in self.pins]}
        layer.editable = False  # once more: new points can be moved
