"""How much the healthy fibroglandular tissue enhances, where the person has labelled it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from qtpy.QtWidgets import QGroupBox, QVBoxLayout

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Timing, background_enhancement
from napari_breastseg.kinetics.background import MARGIN_MM
from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets.kinetics.layer_choice import LayerChoice
from napari_breastseg.widgets.kinetics.lesion import LesionWatch
from napari_breastseg.widgets.kinetics.study import Study, labelled
from napari_breastseg.widgets.parts.section import JobBar, button, row, text

NONE = "No layer"


class BackgroundPanel(QGroupBox):
    """The background parenchymal enhancement (BPE)."""

    def __init__(self, study: Study, lesion: LesionWatch) -> None:
        super().__init__("Background")
        self._study = study
        self.percent: float | None = None
        self.gland = LayerChoice(NONE, "Where the fibroglandular tissue is labelled; there is no automatic mask of it")
        self.gland.currentIndexChanged.connect(self._forget)
        self.measure = button("Measure BPE", f"Mean enhancement of that tissue, {MARGIN_MM:g} mm away from the tumour", self.start)
        self.bar = JobBar(study, "bpe")
        self.result = text("")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        column.addLayout(row("Gland", self.gland, stretch=1))
        column.addWidget(self.measure)
        column.addWidget(self.bar)
        column.addWidget(self.result)
        lesion.measured.connect(self._forget)
        study.looked.connect(self._offer)
        study.changed.connect(self._forget)
        study.timed.connect(self._forget)
        study.jobs.started.connect(self._enable)
        study.jobs.ended.connect(self._enable)
        self._forget()

    def start(self) -> None:
        """Measure the BPE of what is labelled."""
        case, timing, layer = self._study.case, self._study.timing, self.gland.layer
        if case is None or timing is None:
            raise InputError(self._study.refusal)
        if layer is None:
            raise InputError("No layer holds the fibroglandular tissue. Label it on a new Labels layer, and choose that one.")
        gland, tumour = labelled(layer) > 0, self._study.tumour()
        spared = None if tumour is None else labelled(tumour)
        self._study.jobs.start(
            "bpe", "Measuring the background", lambda: measuring(case, timing, gland, spared), lambda found: self._done(found, timing)
        )

    def _done(self, percent: float, timing: Timing) -> None:
        if timing is not self._study.timing:
            return
        self.percent = percent
        self.result.setText(f"<b>BPE {percent:+.0f} %</b> of what {self.gland.currentText()} marks, {MARGIN_MM:g} mm away from the tumour")
        self.result.setVisible(True)

    def _forget(self, _: object = None) -> None:
        self.percent = None
        self.result.setVisible(False)
        self._enable()

    def _offer(self) -> None:
        self.gland.offer(self._study.labels())
        self._enable()

    def _enable(self, _: str = "") -> None:
        self.measure.setEnabled(self.gland.layer is not None and self._study.timing is not None and not self._study.jobs.busy)


def measuring(case: Case, timing: Timing, gland: npt.NDArray[Any], tumour: npt.NDArray[Any] | None) -> Job[float]:
    """Measure the BPE of a mask of the gland, away from that of the tumour."""
    yield Progress(0, 1, "Background enhancement")
    return background_enhancement(case, timing, gland, tumour)
