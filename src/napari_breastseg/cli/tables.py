"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def rounds_table(rounds: Sequence[dict[str, Any]]) -> Table:
    """Draw the rounds of a simulation."""
    table = Table("round", "Dice of the model", "Dice shown", "strokes", "voxels", "person s", "computer s", "adopted", "why")
    for row in rounds:
        adopted = "" if row["round"] == 0 else "yes" if row["adopted"] else "no"
        table.add_row(
            str(row["round"]),
            f"{row['dice']:.3f}",
            f"{row['dice_shown']:.3f}",
            str(row["strokes"]),
            str(row["edited_voxels"]),
            f"{row['person_seconds']:.1f}",
            f"{row['seconds']:.1f}",
            adopted,
            "\n".join(row["reasons"]),
        )
    return table
