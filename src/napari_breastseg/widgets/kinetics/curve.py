"""The live curve: plot, what is shown in it, and what can be said of it."""

from __future__ import annotations

from napari.utils.theme import get_theme
from qtpy.QtWidgets import QComboBox, QGroupBox, QVBoxLayout

from napari_breastseg.kinetics import describe
from napari_breastseg.widgets.desk.messages import plain
from napari_breastseg.widgets.kinetics.cursor import CursorCurve
from napari_breastseg.widgets.kinetics.lesion import LesionWatch
from napari_breastseg.widgets.kinetics.plot import CurvePlot, Drawn, Unit
from napari_breastseg.widgets.kinetics.readout import Readout
from napari_breastseg.widgets.kinetics.study import Study
from napari_breastseg.widgets.parts.section import row, text
from napari_breastseg.widgets.view.layers import TUMOUR_COLOUR

UNITS: dict[str, Unit] = {"Percent enhancement": "pe", "Signal": "signal"}
MOVE = "Move the mouse over the image."


class CurvePanel(QGroupBox):
    """The curves under the mouse and of the lesion."""

    def __init__(self, study: Study, cursor: CursorCurve, lesion: LesionWatch) -> None:
        super().__init__("Curve")
        self._study, self._cursor, self._lesion = study, cursor, lesion
        self._colour = "#ffffff"
        self.plot = CurvePlot()
        self.unit = QComboBox()
        self.unit.addItems(list(UNITS))
        self.unit.setToolTip("What the curves show: enhancement in % of the baseline, or the signal as it was measured")
        self.readout = Readout()
        self.where = text(MOVE)
        self.where.setToolTip("The voxel in the middle of those whose curve is shown")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        column.addWidget(self.plot)
        column.addLayout(row("Show", self.unit, stretch=1))
        column.addWidget(self.readout)
        column.addWidget(self.where)
        self.unit.currentTextChanged.connect(lambda name: self.plot.set_unit(UNITS[name]))
        study.changed.connect(self._on_timing)
        study.timed.connect(self._on_timing)
        cursor.moved.connect(self._on_cursor)
        cursor.failed.connect(self._on_failed)
        lesion.measured.connect(self._on_lesion)
        study.viewer.events.theme.connect(self._on_theme)
        self._on_theme()
        self._on_timing()

    def leave(self) -> None:
        """Follow napari's theme no more."""
        self._study.viewer.events.theme.disconnect(self._on_theme)

    def _on_theme(self, event: object = None) -> None:
        theme = get_theme(self._study.viewer.theme)
        self._colour = theme.text.as_hex()
        self.plot.set_theme(theme.background.as_hex(), self._colour)
        self.readout.set_cursor_colour(self._colour)
        self._on_cursor()

    def _on_timing(self) -> None:
        self.plot.set_timing(self._study.timing, self._study.thresholds.change)
        self._on_cursor()
        self._on_lesion()

    def _on_cursor(self) -> None:
        probe, timing = self._cursor.probe, self._study.timing
        if probe is None or timing is None:
            self.plot.show_curve("cursor", None)
            self.readout.show_summary("Cursor", None, timing)
            self.where.setText(MOVE)
            return
        self.plot.show_curve("cursor", Drawn(probe.curve, self._colour))
        self.readout.show_summary("Cursor", describe(probe.curve.mean, timing, self._study.thresholds), timing)
        z, y, x = probe.index
        self.where.setText(f"Voxel z {z}, y {y}, x {x}: mean of {probe.curve.voxels} voxels")

    def _on_failed(self, why: str) -> None:
        self.where.setText(plain(why))

    def _on_lesion(self) -> None:
        kinetics = self._lesion.kinetics
        self.plot.show_curve("lesion", None if kinetics is None else Drawn(kinetics.curve, TUMOUR_COLOUR))
        self.readout.show_summary("Lesion", None if kinetics is None else kinetics.summary, self._study.timing)
