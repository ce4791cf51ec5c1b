"""Section Learn: fine-tune the model on the corrections and say in words whether the result is better."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from qtpy.QtWidgets import QCheckBox

from napari_breastseg.errors import InputError
from napari_breastseg.session.opening import LEARNING_INTERRUPTED
from napari_breastseg.widgets._core_jobs import learning
from napari_breastseg.widgets._desk import Desk
from napari_breastseg.widgets._section import JobBar, Section, button, row


class LearnSection(Section):
    """Start and cancel a learning round; hear what came of it."""

    def __init__(self, desk: Desk, device: Callable[[], str], predict: Callable[[], None]) -> None:
        super().__init__("5 · Learn", desk)
        self._device = device
        self._predict = predict
        self._outcome = ""
        self.learn = button(
            "Learn",
            "Let the model learn from the corrections, in a process of its own. A version that is worse is not adopted.",
            self.start,
        )
        self.again = QCheckBox("then predict again")
        self.again.setToolTip("Predict this case again when a better version was adopted")
        self.again.setChecked(True)
        self.bar = JobBar(desk, "learn")
        self.column.addLayout(row(self.learn, self.again, stretch=0))
        self.column.addWidget(self.bar)
        self.column.addWidget(self.hint)
        desk.jobs.cancelled.connect(self._on_cancelled)
        desk.saved.connect(self.refresh_safely)
        self.refresh()

    def refresh(self) -> None:
        """Enable learning once there is something to learn from."""
        desk = self.desk
        self.learn.setEnabled(desk.corrected and not desk.read_only and not desk.jobs.busy)
        if desk.view is None:
            self._outcome = ""
            self.say("Choose a case first.")
        elif desk.read_only:
            self.say("Nothing can be learned here: the session is open elsewhere.")
        elif desk.jobs.kind == "learn":
            self.say("You can go on correcting meanwhile.")
        elif self._outcome:
            self.say(self._outcome)
        elif LEARNING_INTERRUPTED in desk.recovered:
            self.say(LEARNING_INTERRUPTED)
        else:
            self.say("Press <b>Learn</b> when you have corrected some slices." if desk.corrected else "Correct something first.")

    def start(self) -> None:
        """Run one learning round on all corrections of the session."""
        session, device = self.desk.session, self._device()
        if session is None:
            raise InputError("There is nothing to learn from. Choose a case and correct its prediction first.")
        self._outcome = ""
        self.desk.jobs.start("learn", "Learning from the corrections", lambda: learning(session, device), self._done)

    def _done(self, outcome: Any) -> None:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in outcome.reasons)
        verdict = "<b>Adopted:</b> the new version is now in use." if outcome.adopted else "<b>Not adopted:</b> the model stays as it was."
        self._outcome = f"{verdict}<ul style='margin-left: -24px'>{reasons}</ul>"
        self.desk.changed.emit()
        if outcome.adopted and self.again.isChecked():
            self._predict()

    def _on_cancelled(self, kind: str) -> None:
        if kind == "learn":
            self._outcome = "Cancelled. The model stays as it was, and so do the corrections."
            self.refresh()
