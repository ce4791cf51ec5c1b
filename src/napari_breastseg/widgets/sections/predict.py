"""Section Predict: run the model on the case and watch the result come in."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox

from napari_breastseg.case import Modality, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.measure import amount
from napari_breastseg.progress import Progress
from napari_breastseg.widgets.desk.core_jobs import predicting
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import inform
from napari_breastseg.widgets.parts.section import JobBar, Section, button, row, text

if TYPE_CHECKING:
    from napari_breastseg.inference.grids import Region
    from napari_breastseg.session import Session

FLAGS = Qt.ItemDataRole.UserRole - 1
"""Where Qt keeps whether an entry can be chosen: 0 for one that cannot, nothing for one that can."""
DEVICES = ("auto", "cpu", "cuda", "mps")
VOLUMES: tuple[Modality, ...] = ("dce-mri", "mri")
METHODS: dict[str, tuple[str, str, tuple[Modality, ...]]] = {
    "hcma-unet": ("HCMA-UNet", "the first phase after contrast and the one before", VOLUMES),
    "tsesnet": ("TSESNet", "all phases of a series and their times", VOLUMES),
    "hcnet": (
        "HCNet",
        "the image before contrast alone; as it comes it finds little in patients, so train it on your own first",
        VOLUMES,
    ),
    "ha-net": ("HA-Net", "an ultrasound image", ("ultrasound", "image")),
    "brems-net": (
        "BReMS-Net",
        "a mammogram; its weights have seen synthetic ones alone, so train it on your own first",
        ("mammography", "image"),
    ),
}
"""What can be chosen: its name, what it looks at, and for which kinds of case; of several that suit, the first is the usual one."""


class PredictSection(Section):
    """Choose where to compute, predict, cancel."""

    def __init__(self, desk: Desk) -> None:
        super().__init__("2 · Predict", desk)
        self.model = text("")
        self.model.setToolTip("The model that predicts. It changes when a learning round is adopted, or in Versions.")
        self.method = QComboBox()
        for place, (method, (name, seen, _)) in enumerate(METHODS.items()):
            self.method.addItem(name, method)
            self.method.setItemData(place, f"Looks at {seen}", Qt.ItemDataRole.ToolTipRole)
        self.method.setToolTip("".join(f"<p><b>{name}</b> looks at {seen}.</p>" for name, seen, _ in METHODS.values()))
        self.device = QComboBox()
        self.device.addItems(DEVICES)
        self.device.setToolTip("Where to compute: auto takes a CUDA or Apple GPU if there is one that works, else the CPU")
        self.predict = button("Predict", "Find the tumour. A coarse result comes first, then it is refined part by part.", self.start)
        self.everywhere = QCheckBox("Whole field of view")
        self.everywhere.setToolTip(
            "Look behind the chest wall and beside the breasts, too: slower, in case a part of a breast was left out"
        )
        self.contours = QCheckBox("Contours, coarse and refined")
        self.contours.setToolTip("Draw outlines instead of surfaces: of the first look in blue, of the tumour as it stands in orange")
        self.contours.toggled.connect(self._outline)
        self.bar = JobBar(desk, "predict")
        self.column.addLayout(row("Method", self.method, stretch=1))
        self.column.addWidget(self.model)
        self.column.addLayout(row("Compute on", self.device, self.predict, stretch=2))
        self.column.addWidget(self.everywhere)
        self.column.addWidget(self.contours)
        self.column.addWidget(self.bar)
        self.column.addWidget(self.hint)
        desk.jobs.progressed.connect(self._on_progressed)
        desk.jobs.cancelled.connect(self._on_cancelled)
        desk.saved.connect(lambda _: self._tell())
        self._said = ""
        self._shown: str | None = None
        self.model.setVisible(False)
        self.refresh()

    def refresh(self) -> None:
        """Show the current model and how the prediction stands."""
        desk = self.desk
        if desk.session is not None and desk.session.current_model != self._shown:
            self._show_model(desk.session)  # later, what the person chooses instead waits for Predict
        if desk.view is not None:
            self._offer(desk.view.case.modality)
        ready = desk.view is not None and not desk.read_only
        self.predict.setEnabled(ready and not desk.jobs.busy)
        for choice in (self.method, self.device, self.everywhere):
            choice.setEnabled(ready and not desk.jobs.busy)
        self.contours.setEnabled(desk.predicted)
        if self.contours.isChecked() and desk.view is not None and not desk.view.contours:  # another case, or its first prediction
            self._outline(True)
        self._tell()

    def _show_model(self, session: Session) -> None:
        self._shown = current = session.current_model
        card = next((row.card for row in session.models() if row.sha == current), {})
        self.method.setCurrentIndex(max(0, self.method.findData(str(card.get("preset", "")).split("/")[0])))
        self.model.setText("" if current is None else f"In use: {self.method.currentText()}, version {escape(current[:8])}")
        self.model.setVisible(current is not None)

    def _outline(self, outlined: bool) -> None:
        if self.desk.view is not None and self.desk.predicted:
            self.desk.view.show_contours(outlined)

    def _offer(self, modality: Modality) -> None:
        """Let only what suits the case be chosen."""
        suit = [modality in kinds for _, _, kinds in METHODS.values()]
        for place, suits in enumerate(suit):
            self.method.setItemData(place, None if suits else 0, FLAGS)
        if not suit[self.method.currentIndex()]:
            self.method.setCurrentIndex(suit.index(True))

    def _tell(self) -> None:
        desk = self.desk
        if desk.view is None:
            self.say("Choose a case first.")
        elif desk.jobs.kind == "predict":
            self.say("")
        elif desk.interrupted == "predict" and not desk.read_only:
            self.say("Predicting was interrupted, and nothing of it was kept. Press <b>Predict</b> to start it again.")
        elif not desk.predicted:
            self.say(self._said or ("No prediction yet." if desk.read_only else "Press <b>Predict</b>."))
        else:
            self.say(self._said or self._result_words())

    def region(self) -> Region:
        """Where to look."""
        return "full" if self.everywhere.isChecked() else "breast"

    def start(self) -> None:
        """Predict the case in front of the person."""
        desk = self.desk
        session, case_id, view, device = desk.session, desk.case_id, desk.view, self.device.currentText()
        region, method = self.region(), str(self.method.currentData())
        if session is None or case_id is None or view is None:
            raise InputError("There is no case to predict. Choose one first.")
        self._said = ""
        view.start_preview()
        desk.jobs.start("predict", "Predicting", lambda: view.filled(predicting(session, case_id, device, region, method)), self._done)

    def _done(self, prediction: Prediction) -> None:
        self.desk.show_prediction(prediction)
        if told := [*prediction.details.get("times_assumed", ()), *prediction.details.get("memory_steps", ())]:
            inform(" ".join(told))

    def _on_progressed(self, kind: str, step: Progress) -> None:
        if kind == "predict" and step.payload is not None and self.desk.view is not None:
            self.desk.view.show_preview(step.payload)

    def _on_cancelled(self, kind: str) -> None:
        if kind == "predict":
            self._said = "Cancelled. What was computed so far is shown, but not kept."
            self.refresh()

    def _result_words(self) -> str:
        painter, view = self.desk.painter, self.desk.view
        if painter is None or view is None:
            return ""
        case = view.case
        found = f"Tumour: {amount(painter.voxels, case.geometry, case.flat)}." if painter.voxels else "No tumour found."
        return found if self.desk.read_only else f"{found} Paint what is missing, erase what is wrong."
