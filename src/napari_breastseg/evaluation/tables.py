"""A reproduced table for people: the paper's columns, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_breastseg.evaluation.published import PAPER_SETTINGS
from napari_breastseg.inference.predict import SMALLEST_ML
from napari_breastseg.losses.frloss import TERMS

HEADINGS = {"dice": "Dice", "precision": "Precision", "recall": "Recall", "iou": "IoU", "volumetric_similarity": "VS"}
TITLES = {1: "Table I: networks without FRLoss and with it", 2: "Table II: variants of the network", 3: "Table III: terms of FRLoss"}
MARKS: dict[int, list[str]] = {1: ["FRLoss"], 2: [], 3: list(TERMS)}
UNKNOWN = "-"


def table_cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a report of :func:`~napari_breastseg.evaluation.reproduce.reproduce`."""
    table = report["settings"]["table"]
    headings = ["Variant" if table == 2 else "Network", *MARKS[table], "Parameters, M", "paper", "GFLOPs, paper"]
    known = {metric for row in report["rows"] for metric in row["published"]}
    for metric, name in HEADINGS.items():
        headings += [name, "paper"] if metric in known else [name]
    return headings, [_cells(row, table, known) for row in report["rows"]]


def _cells(row: dict[str, Any], table: int, known: set[str]) -> list[str]:
    marks = [mark in row["terms"] or (mark == "FRLoss" and bool(row["terms"])) for mark in MARKS[table]]
    published = row["published"]
    parameters = row["missing"] or f"{row['parameters'] / 1e6:.2f}"
    cells = [row["label"], *("yes" if mark else "no" for mark in marks), parameters]
    cells += [_number(published.get("parameters_millions"), 2), _number(published.get("gflops"), 2)]
    for metric in HEADINGS:
        cells.append(_figure(row["metrics"].get(metric)))
        if metric in known:
            cells.append(_number(published.get(metric), 3))
    return cells


def _figure(ours: dict[str, Any] | None) -> str:
    if ours is None:
        return ""
    interval = f" ({ours['ci95'][0]:.3f} to {ours['ci95'][1]:.3f})" if ours["ci95"] else ""
    return f"{ours['mean']:.3f}{interval}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def markdown(report: dict[str, Any]) -> str:
    """Draw a report as a Markdown document."""
    headings, rows = table_cells(report)
    lines = [f"# HCMA-UNet, {TITLES[report['settings']['table']]}", ""]
    lines += [_line(headings), _line(["---"] * len(headings)), *map(_line, rows), ""]
    return "\n".join([*lines, *notes(report)]) + "\n"


def notes(report: dict[str, Any]) -> list[str]:
    """Say how the figures came about, and what is not known."""
    settings = report["settings"]
    split, most = settings["split"], max(row["patients"] for row in report["rows"])
    how = f"{split['folds']} folds" if split["folds"] else f"a test share of {split['test_share']:g}"
    return [
        f"Ours: mean over {most} patients tested on (95 % bootstrap interval over the patients); split by patient with {how}, seed "
        f"{split['seed']}; {settings['seeds']} training(s) of each row with {settings['steps']} steps of {settings['batch']} patches of "
        f"{settings['patch']} voxels, learning rate {settings['learning_rate']:g}. The paper: {PAPER_SETTINGS}, on other data and splits.",
        "Ours are measured on each case's own grid, on masks as predict writes them: within the breasts, without parts smaller than "
        f"{SMALLEST_ML} mL.",
        f"{UNKNOWN}, or no column: the paper's value is not in this package's table file (evaluation/published.py). VS: volumetric "
        "similarity.",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
