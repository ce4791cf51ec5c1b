"""Refining in the dock: the prediction follows the strokes on the case, and can be taken back."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.case import UNDECIDED, Box, Prediction, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.loop.strokes import Labels
from napari_breastseg.progress import Job
from napari_breastseg.widgets.desk.core_jobs import refining, unrefining
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.parts.section import JobBar, button, row, text


class Refine(QWidget):
    """Refine with the strokes, cancel, take it back."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self._followed: tuple[Box, Labels] | None = None
        """The strokes that the mask followed last, and where they are; None if that is not known."""
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
        """Enable what can be done now; a single image has no other slices that could follow, and in a case that is done all is said."""
        desk = self.desk
        self.setVisible(desk.refined or desk.painter is None or desk.painter.annotation.shape[0] > 1)
        free = desk.predicted and not desk.read_only and not desk.jobs.busy
        self.refine.setEnabled(free and desk.corrected and not desk.done)
        self.back.setEnabled(free and desk.refined)
        self.hint.setVisible(self.hint.isVisibleTo(self) and desk.refined)

    def on_case(self) -> None:
        """Forget the case that was open before."""
        self._followed = None
        self.hint.setVisible(False)

    def on_steps(self) -> None:
        """Say whether the mask follows strokes that are no longer so."""
        self.hint.setVisible(self.desk.refined and self._behind())

    def _behind(self) -> bool:
        painter = self.desk.painter
        if self._followed is None or painter is None:
            return True  # as after a restart: an undo may have been of strokes that it followed
        box, strokes = self._followed
        return bool(((strokes != UNDECIDED) & (strokes != painter.annotation[slices(box)])).any())

    def start(self) -> None:
        """Refine the prediction of the case in front of the person with all strokes on it, also those that are still being saved."""
        desk = self.desk
        session, case_id, painter = desk.session, desk.case_id, desk.painter
        if session is None or case_id is None or painter is None:
            raise InputError("There is no case to refine. Choose one first.")
        strokes = painter.annotation.copy()

        def job() -> Job[tuple[Prediction, Box | None]]:
            prediction = yield from refining(session, case_id, strokes)
            return prediction, box_around(strokes != UNDECIDED)

        def done(found: tuple[Prediction, Box | None]) -> None:
            prediction, box = found
            self._followed = None if box is None else (box, strokes[slices(box)].copy())
            desk.show_prediction(prediction)
            self.hint.setVisible(box is not None and self._behind())

        desk.jobs.start("refine", "Refining with your strokes", job, done)

    def _back(self) -> None:
        desk = self.desk
        session, case_id = desk.session, desk.case_id
        if session is None or case_id is None:
            raise InputError("There is no case whose prediction could be taken back. Choose one first.")
        desk.jobs.start("refine", "Taking it back", lambda: unrefining(session, case_id), self._taken_back)

    def _taken_back(self, prediction: Prediction) -> None:
        """Show what was shown before; if that is a refinement too, the strokes that were taken back may be in it as well."""
        behind = self.hint.isVisibleTo(self)
        self.desk.show_prediction(prediction)
        self.hint.setVisible(behind and self.desk.refined)
