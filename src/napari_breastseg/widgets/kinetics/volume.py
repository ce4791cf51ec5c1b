"""What is measured of the lesion: its volume, the shares of its curve types, its worst curve, and the functional tumour volume."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QGroupBox, QSizePolicy, QVBoxLayout

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import CURVE_COLOURS, Ftv, Timing, functional_tumour_volume
from napari_breastseg.kinetics.curves import CURVES
from napari_breastseg.kinetics.ftv import MARGIN_MM, around
from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets.desk.messages import plain
from napari_breastseg.widgets.kinetics.layer_choice import LayerChoice
from napari_breastseg.widgets.kinetics.lesion import LesionWatch
from napari_breastseg.widgets.kinetics.readout import SharesBar, Spotted, shares_in_words
from napari_breastseg.widgets.kinetics.study import Study, labelled
from napari_breastseg.widgets.parts.section import JobBar, button, row, text

BOX, NONE = f"Tumour's box + {MARGIN_MM:.0f} mm", "Nothing"
EMPTY = "No lesion. Mark it on the layer Tumour."


class LesionPanel(QGroupBox):
    """The lesion in figures."""

    def __init__(self, study: Study, lesion: LesionWatch) -> None:
        super().__init__("Lesion")
        self._study, self._lesion = study, lesion
        self.ftv: Ftv | None = None
        self.measured_in = ""
        """Where the FTV was measured, in words."""
        self.words = text(EMPTY)
        self.shares, self.split = SharesBar(), text("")
        self.worst = Spotted()
        self.go = button("Go there", "Show the most suspicious 3 x 3 x 3 voxels of the lesion", self._go)
        self.go.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.region = LayerChoice(BOX, "Where the functional tumour volume is measured: a box, or what is labelled on a layer")
        self.omit = LayerChoice(NONE, "What is left out of it, such as skin, vessels or a marker: what is labelled on a layer")
        self.measure = button("Measure FTV", "Measure the functional tumour volume by the definition of UCSF", self.start)
        self.bar = JobBar(study, "ftv")
        self.result = text("")
        self.result.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        column.addWidget(self.words)
        column.addWidget(self.shares)
        column.addWidget(self.split)
        column.addLayout(row(self.worst, self.go, stretch=0))
        for line in (row("FTV in", self.region, stretch=1), row("without", self.omit, stretch=1)):
            column.addLayout(line)
        column.addWidget(self.measure)
        column.addWidget(self.bar)
        column.addWidget(self.result)
        lesion.measured.connect(self._on_lesion)
        study.looked.connect(self._offer)
        study.changed.connect(self._on_timing)
        study.timed.connect(self._on_timing)
        study.jobs.started.connect(self._enable)
        study.jobs.ended.connect(self._enable)
        self._on_lesion()

    def start(self) -> None:
        """Measure the FTV in the region that is chosen."""
        case, timing, tumour = self._study.case, self._study.timing, self._study.tumour()
        if case is None or timing is None:
            raise InputError(self._study.refusal)
        region, omit = self.region.layer, self.omit.layer
        if region is None and tumour is None:
            raise InputError("There is no tumour to draw a box around. Mark it, or choose a layer as the region.")
        where = f"{self.region.currentText()}, without {self.omit.currentText()}" if omit is not None else self.region.currentText()
        self._study.jobs.start(
            "ftv",
            "Measuring the functional tumour volume",
            lambda: measuring(case, timing, tumour, region, omit),
            lambda found: self._done(found, case, timing, where),
        )

    def _done(self, ftv: Ftv, case: Case, timing: Timing, where: str) -> None:
        if case is not self._study.case or timing is not self._study.timing:
            return
        self._forget(f"<b>{ftv.name} {ftv.ml:.2f} mL</b> (PE ≥ {ftv.settings.pe:.0f} %). Called {ftv.name}: {ftv.reason}.")
        self.ftv, self.measured_in = ftv, where
        self.result.setToolTip(ftv.reason)

    def _on_timing(self) -> None:
        self._forget("")

    def _forget(self, sentence: str) -> None:
        self.ftv = None
        self.result.setText(sentence)
        self.result.setVisible(bool(sentence))

    def _offer(self) -> None:
        labels = self._study.labels()
        self.region.offer(labels)
        self.omit.offer(labels)
        self._enable()

    def _enable(self, _: str = "") -> None:
        there = self.region.layer is not None or self._study.tumour() is not None
        timing = self._study.timing
        self.measure.setEnabled(there and timing is not None and timing.delayed and not self._study.jobs.busy)

    def _on_lesion(self) -> None:
        found = self._lesion.kinetics
        if self.ftv is not None and self.measured_in.startswith(BOX):
            self._forget("The tumour has changed since. Measure the FTV again.")
        worst = None if found is None else found.worst
        self.words.setText(plain(self._lesion.reason or EMPTY))
        if found is not None:
            self.words.setText(f"<b>{found.ml:.2f} mL</b>, peak PE {found.peak_pe:+.0f}&nbsp;% (3&nbsp;x&nbsp;3&nbsp;x&nbsp;3)")
        shares = () if found is None or found.shares is None else found.shares
        self.shares.show_shares(shares)
        self.split.setText(shares_in_words(shares))
        self.split.setVisible(bool(shares))
        self.worst.setVisible(worst is not None)
        self.go.setVisible(worst is not None)
        if worst is not None and worst.summary.type is not None:
            words = f"Worst: {CURVES[worst.summary.type]}, PE {worst.summary.pe:+.0f} %"
            self.worst.show_word(words, CURVE_COLOURS[worst.summary.type])
            self.worst.setToolTip(f"The most suspicious 3 x 3 x 3 voxels: {worst.summary.words}")
        self._enable()

    def _go(self) -> None:
        found = self._lesion.kinetics
        if found is not None and found.worst is not None:
            self._study.go_to(found.worst.place)


def measuring(case: Case, timing: Timing, tumour: Labels | None, region: Labels | None, omit: Labels | None) -> Job[Ftv]:
    """Measure the FTV within what is labelled on a layer, or else in a box around the tumour, without what is labelled on another."""
    yield Progress(0, 1, "Functional tumour volume")
    if region is not None:
        allowed = labelled(region) > 0
    else:
        assert tumour is not None
        allowed = around(case, labelled(tumour))
    if omit is not None:
        allowed &= labelled(omit) == 0
    return functional_tumour_volume(case, timing, allowed.astype(np.uint8))
