"""What did it learn? The layer "Learned" on this case, and a list over all cases of the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.errors import InputError
from napari_breastseg.progress import Progress
from napari_breastseg.session import RoundRow, Session
from napari_breastseg.widgets.desk.core_jobs import comparing
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import plain, told
from napari_breastseg.widgets.parts.models_table import figures_table, fill_row
from napari_breastseg.widgets.parts.section import JobBar, button, row, text
from napari_breastseg.widgets.parts.words import one_line
from napari_breastseg.widgets.view.case_view import CaseView
from napari_breastseg.widgets.view.version_layers import ADDED_COLOUR, LEARNED, REMOVED_COLOUR, lay_below, learned_layer, take_away

if TYPE_CHECKING:
    from napari_breastseg.loop.changes import ModelChange

KIND = "changes"
COLUMNS = {
    "Case": "Click to open it with the layer Learned",
    "Gained": "What only the new version takes for tumour",
    "Lost": "What only the version before took for tumour",
    "Dice": "Before and after, in what is annotated of the case",
}
_BUSY = "Something else is running. Wait for it or cancel it, then choose the case again."


class Learned(QWidget):
    """Compares the two versions of the last learning round, this case first; what is found appears as it comes."""

    def __init__(self, desk: Desk, device: Callable[[], str]) -> None:
        super().__init__()
        self._desk = desk
        self._device = device
        self._round: tuple[Session, str, str] | None = None
        """The session and the two versions that are compared."""
        self._found: dict[str, ModelChange] = {}
        self._view: CaseView | None = None
        """Where the layer lies."""
        self._wanted: str | None = None
        """The case whose layer is to be shown when it is there."""
        self.ask = button(
            "What did it learn?", "Compare what the new version and the one before see, on this case and all others", self.start
        )
        self.hide_it = button("Hide", "Take the layer Learned and this list away", self.leave)
        self.bar = JobBar(desk, KIND)
        self.legend = text("")
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.table = figures_table(COLUMNS, 150)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(row(self.ask, self.hide_it, stretch=0))
        for widget in (self.bar, self.legend, self.table):
            column.addWidget(widget)
        go = told(self._go)
        self.table.cellClicked.connect(lambda line, _: go(line))
        desk.jobs.progressed.connect(self._on_progressed)
        self.follow(None)

    def leave(self) -> None:
        """Take away the layer and the list."""
        self._wanted = None
        self._take_layer()
        self._found.clear()
        self._fill()

    def follow(self, learned: RoundRow | None) -> None:
        """Know the last learning round; what was found of an earlier one is taken away."""
        session, now = self._desk.session, None
        if session is not None and learned is not None and learned.parent is not None and learned.candidate is not None:
            now = session, learned.parent, learned.candidate
        if now != self._round:
            self.leave()
            self._round = now
        self.refresh()

    def refresh(self) -> None:
        """Follow the desk to its case: the layer goes before the case is left, and with it the outline, which is not the person's."""
        view = self._desk.view
        if self._view is not None and self._view is not view:
            self._view = None
        elif self._desk.jobs.kind == "case" or (self._view is not None and self._view.layer(LEARNED) is None):
            self._take_layer()
        if view is not None and self._wanted == self._desk.case_id and self._wanted in self._found:
            self._show(self._found[self._wanted])
        self.setVisible(self._round is not None)
        self.ask.setEnabled(self._round is not None and not self._desk.jobs.busy)
        self._say()

    def start(self) -> None:
        """Compare the two versions on all cases, the one in front of the person first."""
        if self._round is None:
            raise InputError("Nothing has been learned yet. Correct something and press Learn first.")
        (session, before, after), device, first = self._round, self._device(), self._desk.case_id
        case_ids = sorted(session.cases, key=lambda case_id: case_id != first)
        self.leave()
        self._wanted = first
        job = lambda: comparing(session, before, after, device, case_ids)  # noqa: E731
        self._desk.jobs.start(KIND, "Comparing what two versions see", job, lambda _: self.refresh())

    def _on_progressed(self, kind: str, step: Progress) -> None:
        if kind == KIND and step.payload is not None:
            self._found[step.payload.case_id] = step.payload
            self._fill()
            self.refresh()

    def _fill(self) -> None:
        self.hide_it.setVisible(bool(self._found))
        self.table.setVisible(bool(self._found))
        self.table.setRowCount(len(self._found))
        for line, change in enumerate(self._found.values()):
            dice = "–" if change.dice_before is None else f"{change.dice_before:.2f} → {change.dice_after:.2f}"
            volumes = ("–", "–") if change.problem else (change.gained, change.lost)
            words = (one_line(change.name, 40), *volumes, dice)
            fill_row(self.table, line, words, 1, [plain(change.problem or change.case_id), *list(COLUMNS.values())[1:]], change.case_id)
        self._say()

    def _go(self, line: int) -> None:
        item = self.table.item(line, 0)
        case_id = None if item is None else item.data(Qt.ItemDataRole.UserRole)
        if case_id is not None and case_id != self._desk.case_id and self._desk.jobs.busy:
            raise InputError(_BUSY)
        self._wanted = case_id
        if case_id == self._desk.case_id:
            self.refresh()
        elif case_id is not None:
            self._desk.show_case(case_id)

    def _show(self, change: ModelChange) -> None:
        view, self._wanted = self._desk.view, None
        if view is None or change.problem:
            return
        lay_below(view, learned_layer(change.on_grid(view.case.shape), view.case.geometry))
        view.layer(LEARNED).visible = True
        self._view = view
        if change.box is not None:
            view.bring_into_view(change.box)

    def _take_layer(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            take_away(view, LEARNED)

    def _say(self) -> None:
        change = None if self._view is None or self._desk.case_id is None else self._found.get(self._desk.case_id)
        self.legend.setVisible(change is not None)
        if change is not None:
            self.legend.setText(legend(change))


def legend(change: ModelChange) -> str:
    """Say what the colours of the layer mean and how much of each there is."""
    if change.box is None:
        return "Both versions see the same in this case."
    return (
        f"<span style='color: {ADDED_COLOUR}'>■</span> gained {change.gained} &nbsp; "
        f"<span style='color: {REMOVED_COLOUR}'>■</span> lost {change.lost}"
    )
