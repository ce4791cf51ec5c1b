"""The table of a session's models; the gate's reasons stand in the tooltips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_breastseg.session import ModelRow, RoundRow
from napari_breastseg.widgets.desk.messages import plain
from napari_breastseg.widgets.parts.history import History
from napari_breastseg.widgets.parts.words import one_line, when

COLUMNS = {
    "Model": "The first digits of its sha256",
    "Made": "When it came into the session",
    "From": "The model that it learned from",
    "State": "Whether it is in use, and whether the gate adopted it",
}


def small_table(columns: Mapping[str, str], height: int) -> QTableWidget:
    """Return a table for reading, one row at a time; `columns` tells what each means."""
    table = QTableWidget(0, len(columns))
    for column, (name, meaning) in enumerate(columns.items()):
        item = QTableWidgetItem(name)
        item.setToolTip(meaning)
        table.setHorizontalHeaderItem(column, item)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setMaximumHeight(height)
    header, numbers = table.horizontalHeader(), table.verticalHeader()
    assert header is not None and numbers is not None
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setStretchLastSection(True)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    numbers.setVisible(False)
    return table


def figures_table(columns: Mapping[str, str], height: int) -> QTableWidget:
    """Return a small table whose first column takes the room that the figures in the others leave."""
    table = small_table(columns, height)
    header = table.horizontalHeader()
    assert header is not None
    header.setStretchLastSection(False)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table


def fill_row(table: QTableWidget, line: int, words: Sequence[str], figures_from: int, tooltips: Sequence[str], data: object = None) -> None:
    """Write one row; what stands from column `figures_from` on are figures, which end at the right."""
    for column, (word, tooltip) in enumerate(zip(words, tooltips, strict=True)):
        item = QTableWidgetItem(word)
        item.setToolTip(tooltip)
        item.setData(Qt.ItemDataRole.UserRole, data)
        if column >= figures_from:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        table.setItem(line, column, item)


class ModelsTable:
    """Shows which models there are, newest first, and which of them is chosen."""

    def __init__(self) -> None:
        self.table = small_table(COLUMNS, 150)
        self.table.setToolTip("The models of this session. Rest the pointer on a row to read why it was adopted or not.")

    @property
    def chosen(self) -> str | None:
        """The sha256 of the chosen model."""
        items = self.table.selectedItems()
        return items[0].data(Qt.ItemDataRole.UserRole) if items else None

    def fill(self, history: History) -> None:
        """List the models; the one that was chosen stays so."""
        chosen = self.chosen
        self.table.setRowCount(len(history.models))
        for line, model in enumerate(reversed(history.models)):
            self._fill_row(line, model, history.rounds.get(model.sha), model.sha == history.current)
            if model.sha == chosen:
                self.table.selectRow(line)

    def _fill_row(self, line: int, model: ModelRow, learned: RoundRow | None, current: bool) -> None:
        if current:
            state = "in use"
        elif learned is None:
            state = "starter" if model.parent is None else "kept"
        else:
            state = "adopted" if learned.adopted else "not adopted"
        reasons = "" if learned is None else "\n".join(learned.reasons)
        why = plain(f"Made {when(model.time)}\n" + (reasons or str(model.card.get("trained_on", "The model that the session began with"))))
        for column, words in enumerate((model.sha[:8], when(model.time), (model.parent or "")[:8] or "–", state)):
            item = QTableWidgetItem(one_line(words))
            item.setToolTip(why)
            item.setData(Qt.ItemDataRole.UserRole, model.sha)
            font = item.font()
            font.setBold(current)
            item.setFont(font)
            self.table.setItem(line, column, item)
