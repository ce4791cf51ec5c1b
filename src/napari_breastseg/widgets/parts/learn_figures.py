"""What the gate measured, as a table, and what it decided, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QMessageBox, QWidget

from napari_breastseg.session import RoundRow
from napari_breastseg.widgets.parts.models_table import figures_table, fill_row
from napari_breastseg.widgets.parts.words import one_line

COLUMNS = {
    "": "What was measured; 1 is perfect",
    "Before": "The version that was in use",
    "After": "What was learned",
    "Base": "The model that all learning began with",
}
_KNOWN = {"corrected": "Corrections met", "held_out": "Kept-back ones", "replay_mean": "Replay set"}
_MEANING = {
    "corrected": "How well the corrections that it learned from are met",
    "held_out": "How well corrections are met that it has not seen: one stroke in five is kept back",
    "replay_mean": "Mean Dice on examinations of a fixed set, so that nothing is forgotten",
}
_SIDES = ("parent", "candidate", "base")
_RISK = (
    "The gate did not adopt this version:\n\n{reasons}\n\nIt will predict and be learned from all the same, and that you decided so is "
    "recorded. You can go back to the version before at any time. Use it anyway?"
)
SAME = 0.0005
"""Figures that differ by less look the same."""


class Measured(NamedTuple):
    """One line of the table; None is what was not measured."""

    name: str
    meaning: str
    before: float | None
    after: float | None
    base: float | None


class GateTable:
    """Before, after, and the base model beside it."""

    def __init__(self) -> None:
        self.table = figures_table(COLUMNS, 150)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def fill(self, figures: Mapping[str, Any]) -> None:
        """Show the figures of a candidate."""
        rows = list(measured(figures))
        self.table.setRowCount(len(rows))
        for line, row in enumerate(rows):
            words = (one_line(row.name, 40), _figure(row.before), _figure(row.after) + _sign(row), _figure(row.base))
            fill_row(self.table, line, words, 1, [row.meaning] * len(words))


def measured(figures: Mapping[str, Any]) -> Iterator[Measured]:
    """Return the lines of the table; what is missing, or no number, counts as not measured: a session may come from a stranger."""
    sides = [side if isinstance(side := figures.get(name), Mapping) else {} for name in _SIDES]
    for key, name in _KNOWN.items():
        values = [_number(side.get(key)) for side in sides]
        if any(value is not None for value in values):
            yield Measured(name, _MEANING[key], *values)
    cases = [found if isinstance(found := side.get("cases"), Mapping) else {} for side in sides]
    for name in dict.fromkeys(name for side in cases for name in side):
        meaning = "Dice with this case, which is done, in what is annotated of it"
        yield Measured(str(name), meaning, *(_number(side.get(name)) for side in cases))


def taken_anyway(parent: QWidget, learned: RoundRow) -> bool:
    """Ask the person whether to use the version that the gate refused in this round."""
    reasons = "\n".join(f"• {reason}" for reason in learned.reasons)
    return QMessageBox.question(parent, "Use it anyway?", _RISK.format(reasons=reasons)) == QMessageBox.StandardButton.Yes


def verdict(learned: RoundRow, current: str | None) -> str:
    """Say what became of a learning round and why, as formatted text."""
    used = learned.candidate is not None and learned.candidate == current
    reasons = [escape(one_line(reason, 200)) for reason in learned.reasons]
    if learned.adopted:
        words = "<b>Adopted:</b> the new version is in use." if used else "<b>Adopted</b>, but another version is in use now."
    elif used:
        words = "<b>Not adopted</b> at first. You use it anyway, and that is recorded."
    elif len(reasons) == 1:
        return f"<b>Not adopted:</b> {reasons[0].rstrip('.')}. The model stays as it was."
    else:
        words = "<b>Not adopted:</b> the model stays as it was."
    return words + "".join(f"<br>• {reason}" for reason in reasons)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value else None


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _sign(row: Measured) -> str:
    """Return an arrow by the side of a figure that has risen or fallen; those that stayed keep the place free."""
    if row.before is None or row.after is None or abs(row.after - row.before) < SAME:
        return "   "
    return " ▲" if row.after > row.before else " ▼"
