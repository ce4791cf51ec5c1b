"""Section Versions: every model of the session, what came of it, and the way back to any of them."""

from __future__ import annotations

from datetime import datetime

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_breastseg.errors import InputError
from napari_breastseg.session import ModelRow, RoundRow
from napari_breastseg.widgets._desk import Desk
from napari_breastseg.widgets._section import Section, button, text

COLUMNS = ("Version", "Made", "From", "State")


class VersionsSection(Section):
    """A table of models; the gate's reasons stand in the tooltips."""

    def __init__(self, desk: Desk) -> None:
        super().__init__("6 · Versions", desk)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setToolTip("The models of this session. Rest the pointer on a row to read why it was adopted or not.")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
        self.table.setMaximumHeight(160)
        header, numbers = self.table.horizontalHeader(), self.table.verticalHeader()
        assert header is not None and numbers is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        numbers.setVisible(False)
        self.use = button("Use this version", "Make the chosen version the model that predicts and learns from now on", self._use)
        self.edits = text("")
        self.column.addWidget(self.table)
        self.column.addWidget(self.use)
        self.column.addWidget(self.edits)
        self.column.addWidget(self.hint)
        desk.saved.connect(self.refresh_safely)
        self.table.itemSelectionChanged.connect(self._on_chosen)
        self.refresh()

    def refresh(self) -> None:
        """List the models and count the edits."""
        session = self.desk.session
        models = [] if session is None else session.models()
        rounds = {} if session is None else {row.candidate: row for row in session.rounds()}
        current = None if session is None else session.current_model
        self.table.setRowCount(len(models))
        for line, model in enumerate(reversed(models)):
            self._fill(line, model, rounds.get(model.sha), model.sha == current)
        self.table.setVisible(bool(models))
        self.use.setVisible(bool(models))
        self._on_chosen()
        self.say("" if models else "Versions appear here when a model has predicted or learned.")
        journal = self.desk.journal
        self.edits.setVisible(journal is not None)
        if journal is not None:
            self.edits.setText(f"Edits of this case: {journal.seq} saved, undos included.")

    def _fill(self, line: int, model: ModelRow, learned: RoundRow | None, current: bool) -> None:
        if current:
            state = "in use"
        elif learned is None:
            state = "starter" if model.parent is None else "kept"
        else:
            state = "adopted" if learned.adopted else "not adopted"
        made = datetime.fromisoformat(model.time).astimezone()
        when = f"{made:%H:%M}" if made.date() == datetime.now().astimezone().date() else f"{made:%d %b}"
        reasons = "" if learned is None else "\n".join(learned.reasons)
        tooltip = f"Made {made:%d %B %Y, %H:%M}\n"
        tooltip += reasons or str(model.card.get("trained_on", "The model that the session began with"))
        for column, words in enumerate((model.sha[:8], when, (model.parent or "")[:8] or "–", state)):
            item = QTableWidgetItem(words)
            item.setToolTip(tooltip)
            item.setData(Qt.ItemDataRole.UserRole, model.sha)
            font = item.font()
            font.setBold(current)
            item.setFont(font)
            self.table.setItem(line, column, item)

    def _chosen(self) -> str | None:
        items = self.table.selectedItems()
        return items[0].data(Qt.ItemDataRole.UserRole) if items else None

    def _on_chosen(self) -> None:
        session, chosen = self.desk.session, self._chosen()
        usable = session is not None and not session.read_only and not self.desk.jobs.busy
        self.use.setEnabled(usable and session is not None and chosen is not None and chosen != session.current_model)

    def _use(self) -> None:
        session, chosen = self.desk.session, self._chosen()
        if session is None or chosen is None:
            raise InputError("No version is chosen. Click on one in the table first.")
        session.use_model(chosen)
        self.desk.changed.emit()
        self.say(f"Version {chosen[:8]} is in use. Predict again to see what it says.")
