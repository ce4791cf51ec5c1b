"""Which case next? The cases that wait, in the order in which a correction would teach the model most, each with its reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_breastseg.errors import InputError
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk.core_jobs import queueing
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import plain, told
from napari_breastseg.widgets.parts.section import JobBar, button, row, text
from napari_breastseg.widgets.parts.words import one_line

if TYPE_CHECKING:
    from napari_breastseg.loop.queue import Suggestion

KIND = "queue"
_ROWS = 3


class QueueList(QWidget):
    """Asks on demand; a click on a case opens it. Shown where there is more than one case."""

    def __init__(self, desk: Desk, device: Callable[[], str]) -> None:
        super().__init__()
        self._desk = desk
        self._device = device
        self._of: tuple[Session | None, str | None] = None, None
        """The session and the model that the list was made for."""
        self.ask = button("Which case next?", "Order the cases that wait by what correcting them would teach the model", self.start)
        self.hide_it = button("Hide", "Take the list away", self.forget)
        self.bar = JobBar(desk, KIND)
        self.none = text("Every case is corrected or done: none is waiting.")
        self.list = QListWidget()
        self.list.setToolTip("The cases that wait, and why. Click on one to open it.")
        self.list.setWordWrap(True)
        self.list.setSpacing(1)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(row(self.ask, self.hide_it, stretch=0))
        for widget in (self.bar, self.none, self.list):
            column.addWidget(widget)
        go = told(self._go)
        self.list.itemClicked.connect(lambda item: go(item))
        self.forget()

    def refresh(self) -> None:
        """Show the button where there is something to choose from; a list of another session or model is out of date."""
        desk = self._desk
        self.setVisible(desk.session is not None and len(desk.session.cases) > 1)
        self.ask.setEnabled(not desk.jobs.busy)
        if self._of[0] is not None and self._of != self._now():
            self.forget()

    def forget(self) -> None:
        """Take the list away."""
        self._of = None, None
        self.list.clear()
        for widget in (self.list, self.hide_it, self.none):
            widget.setVisible(False)

    def start(self) -> None:
        """Order the cases that wait."""
        session, device = self._desk.session, self._device()
        if session is None:
            raise InputError("There is no session to choose from. Open one first.")
        self.forget()
        self._desk.jobs.start(KIND, "Looking which case to take next", lambda: queueing(session, device), self._done)

    def _now(self) -> tuple[Session | None, str | None]:
        session = self._desk.session
        return session, None if session is None else session.current_model

    def _done(self, suggestions: Sequence[Suggestion]) -> None:
        self._of = self._now()
        for number, one in enumerate(suggestions, 1):
            item = QListWidgetItem(f"{number}. {one_line(one.case_id, 60)}\n{one_line('; '.join(one.reasons), 160)}")
            item.setToolTip(plain("\n".join(one.reasons)))
            item.setData(Qt.ItemDataRole.UserRole, one.case_id)
            self.list.addItem(item)
        self.list.setVisible(bool(suggestions))
        self.list.setFixedHeight(min(len(suggestions), _ROWS) * (3 * self.list.fontMetrics().lineSpacing() + 4) + 4)
        self.none.setVisible(not suggestions)
        self.hide_it.setVisible(True)

    def _go(self, item: QListWidgetItem) -> None:
        if self._desk.jobs.busy:
            raise InputError("Something else is running. Wait for it or cancel it, then choose the case again.")
        self._desk.show_case(item.data(Qt.ItemDataRole.UserRole))
