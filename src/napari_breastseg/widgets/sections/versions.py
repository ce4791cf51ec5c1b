"""Section Versions: all that happened to the case and every model of the session, and the way back to any of it."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer

from napari_breastseg.case import Case
from napari_breastseg.errors import BreastSegError, InputError
from napari_breastseg.loop.recorder import Checkout, Edited
from napari_breastseg.session import Moment, Session
from napari_breastseg.widgets.desk.core_jobs import using
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.journal import StrokeJournal
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.history import History, read_history
from napari_breastseg.widgets.parts.learn_figures import taken_anyway
from napari_breastseg.widgets.parts.models_table import ModelsTable
from napari_breastseg.widgets.parts.section import Section, button
from napari_breastseg.widgets.parts.thumbnails import Rgb, thumbnail
from napari_breastseg.widgets.parts.timeline import Timeline
from napari_breastseg.widgets.parts.travel import Travel

_PAUSE_MS = 1000
"""The history is read again this long after the last stroke."""
_OF_MODELS = ("round", "current-model")
_GOING_BACK = "Going back to "
_GO_BACK = "Make the annotation what it was in the chosen version. That is a new edit, which Undo (Ctrl+Z) takes back."
_ONLY_PREDICTED = "Your annotation is the same as in this entry; only the prediction below it differs, and the latest one stays."


class VersionsSection(Section):
    """A timeline of the case, a slider over its edits, and a table of models. Everything is read off the window's thread."""

    def __init__(self, desk: Desk) -> None:
        super().__init__("6 · Versions", desk)
        self.hint.setTextFormat(Qt.TextFormat.PlainText)
        self.reading = Reading()
        self._history = History()
        self._shown: tuple[Session | None, str | None] = None, None
        self._journal: StrokeJournal | None = None
        self.timeline = Timeline(self.reading)
        self.travel = Travel(desk, self.reading, self.say, self.hint.text, self._go_back)
        self.models = ModelsTable()
        self.table = self.models.table
        self.use = button("Use this model", "Make the chosen model the one that predicts and learns from now on", self._use_chosen)
        for widget in (self.timeline, self.travel, self.hint, self.travel.compared, self.table, self.use):
            self.column.addWidget(widget)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._read)
        desk.saved.connect(self._on_saved)
        self.timeline.itemSelectionChanged.connect(self._on_moment)
        self.timeline.itemDoubleClicked.connect(self._on_double_click)
        self.travel.slider.valueChanged.connect(lambda *_: self._on_slider())
        self.travel.number.valueChanged.connect(lambda *_: self._on_slider())
        self.table.itemSelectionChanged.connect(self._enable)
        self.refresh()

    def leave(self) -> None:
        """Stop reading, and leave the layers as they were."""
        self._soon.stop()
        self.travel.leave()
        self.reading.close()

    def refresh(self) -> None:
        """Follow the desk to its case, and read its history again."""
        desk = self.desk
        if desk.jobs.kind == "case":
            self.travel.leave()
        if (desk.session, desk.case_id) != self._shown:
            self._begin_case()
        if desk.journal is not self._journal:
            self._journal = desk.journal
            if desk.journal is not None:
                desk.journal.recorded.connect(self._on_recorded)
                desk.journal.nothing.connect(self._on_nothing)
                desk.journal.failed.connect(self._on_failed)
        self._enable()
        self._read()

    def _begin_case(self) -> None:
        session, case_id, view = self.desk.session, self.desk.case_id, self.desk.view
        self._shown = session, case_id
        self.reading.forget()
        self.timeline.forget(None)
        if session is not None and case_id is not None and view is not None:
            case = view.case
            self.timeline.forget(lambda moment: picture(session, case_id, case, moment))
        self.travel.forget()
        self.say("")
        self._show(History())

    def _read(self) -> None:
        session, case_id = self.desk.session, self.desk.case_id
        if session is not None and not self.desk.closed:
            self.reading.ask("history", lambda: read_history(session, case_id), self._show)

    def _show(self, history: History) -> None:
        self._history = history
        self.timeline.show_moments(history.moments)
        self.travel.follow(history)
        self.models.fill(history)
        self.timeline.setVisible(bool(history.moments))
        self.travel.setVisible(bool(history.moments))
        self.table.setVisible(bool(history.models))
        self.use.setVisible(bool(history.models))
        if not history.moments and not history.models:
            self.say("What you do appears here, and you can go back to any of it.")
        elif self.hint.text().startswith("What you do"):
            self.say("")
        self._enable()

    def _enable(self) -> None:
        desk, model = self.desk, self._model()
        free = desk.session is not None and not desk.read_only
        idle = free and not desk.jobs.busy
        self.travel.enable()
        back = self.travel.back
        if model is not None:
            back.setText("Use this model")
            back.setToolTip("Make the model of this entry the one that predicts and learns from now on")
            back.setEnabled(idle and model != self._history.current)
        else:
            back.setText("Go back to this")
            only_predicted = self._differs_in_prediction()
            back.setToolTip(_ONLY_PREDICTED if only_predicted else _GO_BACK)
            back.setEnabled(free and desk.painter is not None and self.travel.version.seq != self._history.now.seq)
        chosen = self.models.chosen
        self.use.setEnabled(idle and chosen is not None and chosen != self._history.current)

    def _model(self) -> str | None:
        """Return the model of the chosen entry, if that is about a model rather than about the annotation."""
        chosen = self.timeline.chosen
        return chosen.model if chosen is not None and chosen.kind in _OF_MODELS else None

    def _on_moment(self) -> None:
        chosen = self.timeline.chosen
        if chosen is not None:
            self.travel.choose(chosen.version, chosen.box)
        self._enable()
        if chosen is not None and self._model() is None and self._differs_in_prediction():
            self.say(_ONLY_PREDICTED)
        elif self.hint.text() == _ONLY_PREDICTED:
            self.say("")

    def _differs_in_prediction(self) -> bool:
        """Tell whether the chosen version has the present annotation over another prediction."""
        version, now = self.travel.version, self._history.now
        return version.seq == now.seq and version != now

    def _on_double_click(self, item: object) -> None:
        if not self.travel.shown.isChecked():
            self.travel.shown.click()

    def _on_slider(self) -> None:
        self.timeline.clearSelection()
        if self.hint.text() == _ONLY_PREDICTED:
            self.say("")
        self._enable()

    def _on_saved(self, seq: int) -> None:
        """Count; the history is read when the hand rests."""
        self.travel.grow(seq)
        self._soon.start()

    def _go_back(self) -> None:
        model, painter, version = self._model(), self.desk.painter, self.travel.version
        if model is not None:
            self._use(model)
        elif painter is None:
            raise InputError("There is no case to go back in. Choose one first.")
        else:
            self.say(f"{_GOING_BACK}{self.travel.name(version)} ...")
            if painter.layer in self.desk.viewer.layers:
                self.desk.viewer.layers.selection.active = painter.layer  # else the keys of Undo would not reach it
            painter.go_back(version.seq)

    def _on_recorded(self, item: Edited, seq: int) -> None:
        if isinstance(item, Checkout):
            self._read()
            older = self._history.version_at(item.seq).prediction != self._history.now.prediction
            beneath = " The prediction below it is the latest one still." if older else ""
            self.say(f"Your annotation is that of version {item.seq} again, saved #{seq}. Undo (Ctrl+Z) takes that back.{beneath}")

    def _on_failed(self, error: Exception) -> None:
        """Say what became of going back, whose error is told elsewhere; strokes that are stuck before it keep it waiting."""
        if self.hint.text().startswith(_GOING_BACK):
            waiting = self._journal is not None and self._journal.unsaved > 0
            self.say("Going back waits until your strokes are saved." if waiting else "Going back did not work. Nothing was changed.")

    def _on_nothing(self, item: Edited) -> None:
        if isinstance(item, Checkout):
            self.say(f"Your annotation is that of version {item.seq} already; nothing was changed.")

    def _use_chosen(self) -> None:
        chosen = self.models.chosen
        if chosen is None:
            raise InputError("No model is chosen. Click on one in the table first.")
        self._use(chosen)

    def _use(self, sha: str) -> None:
        session, learned = self.desk.session, self._history.rounds.get(sha)
        if learned is not None and not learned.adopted and not taken_anyway(self, learned):
            return
        if session is not None:
            self.desk.jobs.start("versions", "Changing the model", lambda: using(session, sha), lambda _: self._on_used(sha))

    def _on_used(self, sha: str) -> None:
        self.desk.changed.emit()
        self.say(f"Model {sha[:8]} is in use. Predict again to see what it says.")


def picture(session: Session, case_id: str, case: Case, moment: Moment) -> Rgb | None:
    """Return the picture of a moment; none where the session cannot be read, which whoever needs what is there is told."""
    try:
        return thumbnail(session, case_id, case, moment)
    except BreastSegError:
        return None
