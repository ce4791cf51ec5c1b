"""Refining in the dock: the prediction follows the strokes on the case, and can be taken back."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.case import Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.widgets.desk.core_jobs import refining, unrefining
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.parts.section import JobBar, button, row, text


class Refine(QWidget):
    """Refine with the strokes, cancel, take it back."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        tooltip = "Let the mask follow your strokes through the case, along what they show of its tissue. The model stays as it is."
        self.refine = button("Refine with my strokes", tooltip, self.start)
        self.back = button("Take it back", "Show the mask as it was before it last followed your strokes, which stay", self._back)
        self.bar = JobBar(desk, "refine")
        self.hint = text("The mask still follows strokes as they were before the last undo or redo. Refine again, or take it back.")
        self.hint.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row(self.refine, self.back))
        column.addWidget(self.bar)
        column.addWidget(self.hint)

    def refresh(self) -> None:
        """Enable what can be done now; a single image has no other slices that could follow."""
        desk = self.desk
        self.setVisible(desk.refined or desk.painter is None or desk.painter.annotation.shape[0] > 1)
        free = desk.predicted and not desk.read_only and not desk.jobs.busy
        self.refine.setEnabled(free and desk.corrected)
        self.back.setEnabled(free and desk.refined)
        self.hint.setVisible(self.hint.isVisibleTo(self) and desk.refined)

    def on_steps(self) -> None:
        """Say that strokes were taken back, or brought back, that the mask was refined with."""
        self.hint.setVisible(self.desk.refined)

    def start(self) -> None:
        """Refine the prediction of the case in front of the person with all strokes on it, also those that are still being saved."""
        desk = self.desk
        session, case_id, painter = desk.session, desk.case_id, desk.painter
        if session is None or case_id is None or painter is None:
            raise InputError("There is no case to refine. Choose one first.")
        strokes = painter.annotation.copy()
        desk.jobs.start("refine", "Refining with your strokes", lambda: refining(session, case_id, strokes), self._done)

    def _back(self) -> None:
        desk = self.desk
        session, case_id = desk.session, desk.case_id
        if session is None or case_id is None:
            raise InputError("There is no case whose prediction could be taken back. Choose one first.")
        desk.jobs.start("refine", "Taking it back", lambda: unrefining(session, case_id), self._taken_back)

    def _done(self, prediction: Prediction) -> None:
        self.hint.setVisible(False)
        self.desk.show_prediction(prediction)

    def _taken_back(self, prediction: Prediction) -> None:
        """Show what was shown before; if that is a refinement too, the strokes that were taken back may be in it as well."""
        behind = self.hint.isVisibleTo(self)
        self.desk.show_prediction(prediction)
        self.hint.setVisible(behind and self.desk.refined)
