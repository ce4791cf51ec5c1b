"""Tables and figures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def tumour_in_words(answer: Mapping[str, Any]) -> str:
    """Return how much tumour the answer of a prediction tells of: in mL, of images in mm² or in pixels."""
    words = f"{figure_in_words(answer, 'tumour')} of tumour in {answer['case']}"
    if answer["parts"] > 1:
        words += f", in {answer['parts']} parts, the largest {figure_in_words(answer, 'largest')}"
    return words + (f", longest diameter {answer['longest']:g} {answer['unit']}" if answer["parts"] else "")


def figure_in_words(answer: Mapping[str, Any], which: str) -> str:
    """Return the size of all tumour, or of the largest part, of the figures of :func:`~napari_breastseg.measure.tumour_figures`."""
    if answer[f"{which}_ml"] is not None:
        return f"{answer[f'{which}_ml']:.2f} mL"
    if answer[f"{which}_mm2"] is not None:
        return f"{answer[f'{which}_mm2']:.1f} mm²"
    return f"{answer[f'{which}_voxels']} pixels"
