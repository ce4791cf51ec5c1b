"""When contrast was injected, and where curve types begin."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtWidgets import QDoubleSpinBox, QGroupBox, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_breastseg.errors import InputError
from napari_breastseg.widgets.desk.messages import plain, tell
from napari_breastseg.widgets.kinetics.study import Study
from napari_breastseg.widgets.parts.section import button, row, text

KNOWN = "The injection is at 0 s of the examination's own clock."


class SettingsPanel(QGroupBox):
    """Timing, and the thresholds of curve types in a part that unfolds."""

    def __init__(self, study: Study) -> None:
        super().__init__("Timing")
        self._study = study
        self.note = text("")
        self.injection = _spin(" s", -9999, 99999, 5, "When contrast was injected, in seconds on the examination's clock")
        self.automatic = button("Automatic", "Take the injection to be where the times of the phases suggest it", self._automatic)
        limits = study.thresholds
        self.uptake = _spin(" %", 0, 500, 5, "Curves that enhance less in the early and the last phase have no uptake")
        self.change = _spin(" %", 0, 100, 1, "Change after the early phase up to which a curve is a plateau")
        self.uptake.setValue(limits.uptake)
        self.change.setValue(limits.change)
        self.thresholds = QCollapsible("Thresholds", expandedIcon="▼", collapsedIcon="▶")
        self.thresholds.toggleButton().setToolTip("Where curve types begin")
        inner = QWidget()
        lines = QVBoxLayout(inner)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addLayout(row("Uptake from PE", self.uptake, stretch=1))
        lines.addLayout(row("Plateau within ±", self.change, stretch=1))
        self.thresholds.setContent(inner)
        self.thresholds.collapse(animate=False)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        column.addWidget(self.note)
        column.addLayout(row("Injection at", self.injection, self.automatic, stretch=1))
        column.addWidget(self.thresholds)
        self.injection.valueChanged.connect(self._on_injection)
        for spin in (self.uptake, self.change):
            spin.valueChanged.connect(self._on_thresholds)
        study.changed.connect(self._show)
        study.timed.connect(self._show)
        self._show()

    def _show(self) -> None:
        case, timing = self._study.case, self._study.timing
        timed = case is not None and timing is not None and bool(case.times)
        self.injection.setEnabled(timed)
        self.automatic.setEnabled(timed and self._study.injection is not None)
        if case is None or timing is None:
            return
        given = f"The injection is at {self._study.injection:g} s, as you said." if self._study.injection is not None else KNOWN
        self.note.setText(plain(" ".join(timing.notes) or given))
        if timed:
            self.injection.blockSignals(True)
            self.injection.setValue(case.times[0] - timing.seconds[0])
            self.injection.blockSignals(False)

    def _on_injection(self, seconds: float) -> None:
        try:
            self._study.set_injection(seconds)
        except InputError as error:
            tell(error)
            self._show()

    def _automatic(self) -> None:
        self._study.set_injection(None)

    def _on_thresholds(self, _: float) -> None:
        limits = replace(self._study.thresholds, uptake=self.uptake.value(), change=self.change.value())
        self._study.set_thresholds(limits)


def _spin(unit: str, low: float, high: float, step: float, tooltip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(low, high)
    spin.setDecimals(1 if unit == " s" else 0)
    spin.setSingleStep(step)
    spin.setSuffix(unit)
    spin.setKeyboardTracking(False)
    spin.setToolTip(tooltip)
    return spin
