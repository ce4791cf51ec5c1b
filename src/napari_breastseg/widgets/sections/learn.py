"""Section Learn: fine-tune the model on the corrections, watch it, and hear in words whether the result is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from qtpy.QtWidgets import QCheckBox

from napari_breastseg.errors import InputError
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import RoundRow, Session
from napari_breastseg.session.opening import LEARNING_INTERRUPTED
from napari_breastseg.widgets.desk.core_jobs import learning, overruling, using
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.learn_figures import GateTable, taken_anyway, verdict
from napari_breastseg.widgets.parts.learned import Learned
from napari_breastseg.widgets.parts.loss_curve import LossCurve
from napari_breastseg.widgets.parts.section import JobBar, Section, button, row
from napari_breastseg.widgets.parts.where import Where
from napari_breastseg.widgets.parts.words import when

_CANCELLED = (
    "Cancelled; the model stays as it was. What was computed is kept, and <b>Learn</b> goes on there unless you correct more first."
)


class LearnSection(Section):
    """Start and cancel a learning round, see how it goes and what came of it, overrule it or go back."""

    def __init__(self, desk: Desk, device: Callable[[], str], predict: Callable[[], None]) -> None:
        super().__init__("5 · Learn", desk)
        self._device = device
        self._predict = predict
        self._round: RoundRow | None = None
        self._current: str | None = None
        self._shown: Session | None = None
        self._news = ""
        """What was cancelled; empty again with the next round."""
        self._fresh = False
        """Whether the last round was learned under these eyes."""
        self.reading = Reading()
        self.learn = button(
            "Learn",
            "Let the model learn from the corrections, in a process of its own. A version that is worse is not adopted.",
            self.start,
        )
        self.again = QCheckBox("then predict again")
        self.again.setToolTip("Predict this case again when another version has come into use here")
        self.again.setChecked(True)
        self.where = Where()
        self.bar = JobBar(desk, "learn")
        self.curve = LossCurve()
        self.gate = GateTable()
        self.overrule = button("Use it anyway", "Use the version that was not adopted, at your own risk; that is recorded", self._overrule)
        self.back = button("Back to the version before", "Use the version again that was in use before this learning round", self._back)
        self.figures = button("Figures", "What was measured before and after", self._tell, checkable=True)
        self.learned = Learned(desk, device)
        self.column.addLayout(row(self.learn, self.again, stretch=0))
        for widget in (self.where, self.bar, self.curve, self.hint, self.gate.table):
            self.column.addWidget(widget)
        self.column.addLayout(row(self.overrule, self.back, self.figures, stretch=1))
        self.column.addWidget(self.learned)
        desk.jobs.progressed.connect(self._on_progressed)
        desk.jobs.cancelled.connect(self._on_cancelled)
        desk.saved.connect(lambda _: self._tell())
        self.refresh()

    def leave(self) -> None:
        """Read no more, and take away what was laid over the case."""
        self.reading.close()
        self.learned.leave()

    def refresh(self) -> None:
        """Follow the desk to its session and case, and read how its last learning round ended."""
        session = self.desk.session
        if session is not self._shown:
            self._shown, self._news, self._fresh = session, "", False
            self._on_read((None, None))
        if session is not None and not self.desk.closed:
            self.reading.ask("round", lambda: last_round(session), self._on_read)
        self.learned.refresh()
        self._tell()

    def start(self) -> None:
        """Run one learning round on all corrections of the session."""
        session, device, scheduler = self.desk.session, self._device(), self.where.address
        if session is None:
            raise InputError("There is nothing to learn from. Choose a case and correct its prediction first.")
        self._news = ""
        self.curve.clear()
        self.gate.table.setRowCount(0)
        title = "Learning from the corrections"
        self.desk.jobs.start("learn", title, lambda: learning(session, device, scheduler), lambda outcome: self._done(outcome.adopted))

    def _done(self, adopted: bool) -> None:
        self._fresh = True
        self.figures.setChecked(True)
        self._changed(adopted)

    def _changed(self, other_model: bool = True) -> None:
        """Show what is so now; predict again if another version has come into use."""
        self.desk.changed.emit()
        if other_model and self.again.isChecked() and self.desk.view is not None:
            self._predict()

    def _on_read(self, found: tuple[RoundRow | None, str | None]) -> None:
        learned, self._current = found
        if learned != self._round and learned is not None and self.desk.jobs.kind != "learn":
            self.gate.fill(learned.figures)
        self._round = learned
        self.learned.follow(learned)
        self._tell()

    def _on_progressed(self, kind: str, step: Progress) -> None:
        """Draw on: a payload tells of a loss, or of how a candidate was judged."""
        if kind != "learn" or not isinstance(step.payload, Mapping):
            return
        if step.payload.get("stage") == "train":
            self.curve.add(float(step.payload["loss"]), step.total)
        elif step.payload.get("stage") == "judge":
            self.gate.fill(step.payload["figures"])
            self._tell()

    def _on_cancelled(self, kind: str) -> None:
        if kind == "learn":
            self._news = _CANCELLED
            self._tell()

    def _tell(self) -> None:
        """Show and enable what can be seen and done now."""
        desk, learned = self.desk, self._round
        running, free = desk.jobs.kind == "learn", not desk.read_only and not desk.jobs.busy
        used = learned is not None and learned.candidate is not None and learned.candidate == self._current
        self.learn.setEnabled(desk.corrected and free)
        self.where.setEnabled(free)
        if not running:
            self.curve.setVisible(False)
        quiet = running or desk.session is None
        self.overrule.setVisible(not quiet and learned is not None and learned.candidate is not None and not learned.adopted and not used)
        self.back.setVisible(not quiet and used and learned is not None and learned.parent is not None)
        self.figures.setVisible(not quiet and learned is not None and self.gate.table.rowCount() > 0)
        for control in (self.overrule, self.back):
            control.setEnabled(free)
        self.gate.table.setVisible(self.gate.table.rowCount() > 0 and (running or (self.figures.isChecked() and learned is not None)))
        self.say(self._words(running))

    def _words(self, running: bool) -> str:
        desk, learned = self.desk, self._round
        if running:
            return "You can go on correcting meanwhile."
        if self._news:
            return self._news
        if desk.read_only and learned is None:
            return "Nothing can be learned here: the session is open elsewhere."
        if LEARNING_INTERRUPTED in desk.recovered:
            return escape(LEARNING_INTERRUPTED)
        if learned is not None:
            return ("" if self._fresh else f"Last round, {when(learned.time)}: ") + verdict(learned, self._current)
        if desk.view is None:
            return "Choose a case first."
        return "Press <b>Learn</b> when you have corrected some slices." if desk.corrected else "Correct something first."

    def _overrule(self) -> None:
        learned, session = self._round, self.desk.session
        if learned is None or session is None:
            raise InputError("There is no version that was not adopted. Learn first.")
        if taken_anyway(self, learned):
            self._switch(lambda: overruling(session, learned.id))

    def _back(self) -> None:
        learned, session = self._round, self.desk.session
        if learned is None or session is None or learned.parent is None:
            raise InputError("There is no version before this one. Choose one under Versions.")
        parent = learned.parent
        self._switch(lambda: using(session, parent))

    def _switch(self, job: Callable[[], Job[None]]) -> None:
        self._news = ""
        self.desk.jobs.start("versions", "Changing the model", job, lambda _: self._changed())


def last_round(session: Session) -> tuple[RoundRow | None, str | None]:
    """Return the last learning round of a session and its current model, None where there is none yet."""
    rounds = session.rounds()
    return (rounds[-1] if rounds else None), session.current_model
