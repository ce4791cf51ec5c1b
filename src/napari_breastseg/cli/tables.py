"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table


def rounds_table(rounds: Sequence[dict[str, Any]]) -> RenderableType:
    """Draw the rounds of a simulation, and under the table why each candidate was adopted or not."""
    table = Table("round", "Dice", "Dice shown", "strokes", "voxels", "person", "computer", "adopted", box=None)
    for row in rounds:
        table.add_row(
            str(row["round"]),
            f"{row['dice']:.3f}",
            f"{row['dice_shown']:.3f}",
            str(row["strokes"]),
            str(row["edited_voxels"]),
            f"{row['person_seconds']:.0f} s",
            f"{row['seconds']:.0f} s",
            "" if row["round"] == 0 else "yes" if row["adopted"] else "no",
        )
    reasons = [f"Round {row['round']}: {'; '.join(row['reasons'])}" for row in rounds if row["reasons"]]
    note = "Dice: the model's own prediction. Dice shown: with all corrections laid over it."
    return Group(table, note, *reasons)
