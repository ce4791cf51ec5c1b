"""How far the phases of the case lie apart, and a button that lays them over each other."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.case import Case
from napari_breastseg.widgets.desk.core_jobs import aligning
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.parts.section import JobBar, button, text

MOTION, ALIGNED = "motion", "aligned"
"""Keys of a case's metadata; see :mod:`napari_breastseg.loop.aligned`, which would bring SimpleITK along."""


class MotionPanel(QWidget):
    """What the motion check said when the case came in, for a series only."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.words = text("")
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setToolTip("How far the phases lie apart, measured at edges in the breasts when the examination came into the session")
        self.align = button(
            "Align phases", "Lay all phases over the first one after contrast, as a case of its own; this one stays as it is", self._align
        )
        self.bar = JobBar(desk, "align")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (self.words, self.align, self.bar):
            column.addWidget(widget)

    def refresh(self) -> None:
        """Show what is known of the case in front."""
        desk = self._desk
        case = None if desk.view is None else desk.view.case
        series = case is not None and case.phases > 1 and not case.flat
        self.setVisible(series)
        if case is not None and series:
            self.words.setText(_words(case))
            self.words.setVisible(bool(self.words.text()))
            self.align.setVisible(ALIGNED not in case.metadata)
            self.align.setEnabled(not desk.jobs.busy and not desk.read_only)

    def _align(self) -> None:
        session, case_id = self._desk.session, self._desk.case_id
        if session is not None and case_id is not None:
            self._desk.jobs.start("align", "Aligning the phases", lambda: aligning(session, case_id), self._show)

    def _show(self, case_id: str) -> None:
        QTimer.singleShot(0, lambda: self._desk.show_case(case_id))  # when this job has ended


def _words(case: Case) -> str:
    motion = case.metadata.get(MOTION)
    words = motion.get("words") if isinstance(motion, dict) else None
    return words if isinstance(words, str) else ""
