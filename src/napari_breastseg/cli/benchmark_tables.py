"""What `benchmark inference` found, as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table


def inference_tables(answer: dict[str, Any]) -> list[RenderableType]:
    """Return a table for each part that was measured."""
    makers = {"windows": _windows, "peers": _peers, "larger": _larger, "recall": _recall}
    return [make(answer[name]) for name, make in makers.items() if name in answer]


def _windows(found: dict[str, Any]) -> Table:
    title = f"The same network, {found['cases']} examinations of {_size(found['shape'])} voxels, medians"
    table = Table(
        "engine", "ours s", "MONAI s", "times faster", "first layer after", "Dice ours", "MONAI", "MONAI, our region", title=title, box=None
    )
    table.caption = f"Ours in the engine that we choose, MONAI in torch: {found['times_faster_than_monai_in_torch']:.1f} times faster"
    for engine in ("torch", "openvino"):
        if engine in found:
            row = found[engine]
            shown = (row["median_ours_s"], row["median_monai_s"], row["median_times_faster"])
            table.add_row(
                engine, *(f"{value:.1f}" for value in shown), f"{row['median_coarse_share']:.0%}",
                *(f"{row[key]:.3f}" for key in ("mean_ours_dice", "mean_monai_dice", "mean_monai_dice_in_region")),
            )  # fmt: skip
    return table


def _peers(found: dict[str, Any]) -> Table:
    title = f"One examination of {_size(found['shape'])} voxels, each in a process of its own"
    table = Table("way", "s", "times ours", "peak MiB", title=title, box=None)
    for row in found["rows"]:
        if row["seconds"] is None:
            table.add_row(row["way"], "", "", row["why"])
        else:
            table.add_row(row["way"], f"{row['seconds']:.1f}", f"{row['times_ours']:.1f}", f"{row['peak_memory_mib']:.0f}")
    return table


def _larger(found: dict[str, Any]) -> Table:
    title = f"An examination of {_size(found['shape'])} voxels, {found['gigabytes']:.1f} GB, in Zarr"
    table = Table("s", "peak MiB", "of that for the prediction", "stated beforehand", title=title, box=None)
    table.add_row(*(f"{found[key]:.0f}" for key in ("seconds", "peak_memory_mib", "measured_mib", "stated_mib")))
    return table


def _recall(found: dict[str, Any]) -> Table:
    table = Table("tumour mm", "cases", "coarse finds", "refined finds", "false parts, coarse", "refined", title="Recall by size", box=None)
    for row in found["rows"]:
        shares = (f"{row[key]:.0%}" for key in ("coarse_recall", "refined_recall"))
        parts = (f"{row[key]:.1f}" for key in ("coarse_false_parts", "refined_false_parts"))
        table.add_row(f"{row['diameter_mm']:g}", str(row["cases"]), *shares, *parts)
    return table


def _size(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
