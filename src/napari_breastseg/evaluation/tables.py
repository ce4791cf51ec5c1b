"""A reproduced table for people: the paper's columns, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_breastseg.inference.predict import SMALLEST_ML

HEADINGS = {
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "iou": "IoU",
    "volumetric_similarity": "VS",
    "hd95": "HD95, mm",
    "asd": "ASD, mm",
}
UNKNOWN = "-"


def table_cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a report of :func:`~napari_breastseg.evaluation.reproduce.reproduce`."""
    headings = [report["of"], *report["marks"], "Parameters, M", "paper", "GFLOPs, paper"]
    known = {metric for row in report["rows"] for metric in row["published"]}
    for metric in report["metrics"]:
        headings += [HEADINGS[metric], "paper"] if metric in known else [HEADINGS[metric]]
    return headings, [_cells(row, report, known) for row in report["rows"]]


def _cells(row: dict[str, Any], report: dict[str, Any], known: set[str]) -> list[str]:
    published = row["published"]
    cells = [row["label"], *("yes" if mark in row["marks"] else "no" for mark in report["marks"])]
    cells.append(row["missing"] or f"{row['parameters'] / 1e6:.2f}")
    cells += [_number(published.get("parameters_millions"), 2), _number(published.get("gflops"), 2)]
    for metric in report["metrics"]:
        cells.append(_figure(row["metrics"].get(metric)))
        if metric in known:
            cells.append(_number(published.get(metric), 3))
    return cells


def _figure(ours: dict[str, Any] | None) -> str:
    if ours is None:
        return ""
    interval = f" ({ours['ci95'][0]:.3f} to {ours['ci95'][1]:.3f})" if ours["ci95"] else ""
    return f"{_number(ours['mean'], 3)}{interval}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def markdown(report: dict[str, Any]) -> str:
    """Draw a report as a Markdown document."""
    headings, rows = table_cells(report)
    lines = [f"# {report['settings']['method']}, {report['title']}", ""]
    lines += [_line(headings), _line(["---"] * len(headings)), *map(_line, rows), ""]
    return "\n".join([*lines, *notes(report)]) + "\n"


def notes(report: dict[str, Any]) -> list[str]:
    """Say how the figures came about, and what is not known."""
    settings = report["settings"]
    split, most = settings["split"], max(row["patients"] for row in report["rows"])
    how = f"{split['folds']} folds" if split["folds"] else f"a test share of {split['test_share']:g}"
    said = [
        f"Ours: mean over {most} patients tested on (95 % bootstrap interval over the patients); split by patient with {how}, seed "
        f"{split['seed']}; {settings['seeds']} training(s) of each row with {settings['steps']} steps of {settings['batch']} patches of "
        f"{settings['patch']} voxels, learning rate {settings['learning_rate']:g}. The paper: {report['papers_settings']}, on other data "
        "and splits.",
        "Ours are measured on each case's own grid, on masks as predict writes them: within the breasts, without parts smaller than "
        f"{SMALLEST_ML} mL.",
        f"{UNKNOWN}, or no column: the paper's value is not in this package (evaluation/papers). VS: volumetric similarity.",
    ]
    undefined = {
        HEADINGS[metric]: count
        for metric in report["metrics"]
        if (count := max(row["metrics"].get(metric, {}).get("undefined", 0) for row in report["rows"]))
    }
    if undefined:
        words = ", ".join(f"{heading} of up to {count} case(s) in a row" for heading, count in undefined.items())
        said.append(f"Not defined, because a mask is empty, and left out: {words}.")
    return said


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
