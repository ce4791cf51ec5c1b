"""A reproduced table for people: the paper's columns, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_breastseg.inference.predict import SMALLEST_ML, SMALLEST_SHARE

HEADINGS = {
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "iou": "IoU",
    "volumetric_similarity": "VS",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "hd95": "HD95, mm",
    "asd": "ASD, mm",
}
UNKNOWN = "-"


def table_cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a report of :func:`~napari_breastseg.evaluation.reproduce.reproduce`."""
    headings = [report["of"], *report["marks"], "Parameters, M", "paper", "GFLOPs, paper"]
    known = {metric for row in report["rows"] for metric in row["published"]}
    for metric in report["metrics"]:
        headings += [heading(metric, report), "paper"] if metric in known else [heading(metric, report)]
    healthy = any(row["healthy"] for row in report["rows"])
    headings += ["False alarms"] if healthy else []
    headings += [f"Dice against {report['reference']}"] if report["reference"] else []
    return headings, [_cells(row, report, known, healthy) for row in report["rows"]]


def heading(metric: str, report: dict[str, Any]) -> str:
    """Return what a metric is called; image files do not tell their scale, so in images distances are in pixels."""
    return HEADINGS[metric].replace("mm", "pixels") if report["flat"] else HEADINGS[metric]


def _cells(row: dict[str, Any], report: dict[str, Any], known: set[str], healthy: bool) -> list[str]:
    published = row["published"]
    cells = [row["label"], *("yes" if mark in row["marks"] else "no" for mark in report["marks"])]
    cells.append(row["missing"] or f"{row['parameters'] / 1e6:.2f}")
    cells += [_number(published.get("parameters_millions"), 2), _number(published.get("gflops"), 2)]
    for metric in report["metrics"]:
        cells.append(_figure(row["metrics"].get(metric)))
        if metric in known:
            cells.append(_number(published.get(metric), 3))
    if healthy:
        cells.append(_figure(row["false_alarms"]))
    if report["reference"]:
        cells.append(_compared(row.get("difference", {}).get("dice")))
    return cells


def _compared(difference: dict[str, Any] | None) -> str:
    return "" if difference is None else f"{_figure(difference)}, p = {difference['wilcoxon_p']:.2g}"


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
    how = f"split by patient with {how}, seed {split['seed']}" if not split["table"] else "split by the table of folds"
    seen = f"patches of {settings['patch']} voxels"
    cleaned = f"within the breasts, without parts smaller than {SMALLEST_ML} mL"
    if report["flat"]:
        seen, cleaned = f"images of {settings['patch']} pixels a side", f"without parts smaller than {SMALLEST_SHARE:.1%} of the image"
    who = "patients, or groups of the table that belong together," if split["table"] else "patients"
    said = [
        f"Ours: mean over {most} {who} tested on (95 % bootstrap interval over them); {how}; "
        f"{settings['seeds']} training(s) of each row with {settings['steps']} steps of {settings['batch']} {seen}, learning rate "
        f"{settings['learning_rate']:g}. The paper: {report['papers_settings']}, on other data and splits.",
        f"Ours are measured on each case's own grid, on masks as predict writes them: {cleaned}.",
        f"{UNKNOWN}, or no column: the paper's value is not in this package (evaluation/papers). VS: volumetric similarity.",
    ]
    healthy = max(row["healthy"] for row in report["rows"])
    if healthy:
        said.append(
            f"{healthy} cases without tumour are in no other figure. False alarms: the share of them in which something was marked."
        )
    if "ImageNet" in report["papers_settings"]:
        began = "The encoders, but for those of other networks, began from ImageNet weights," if settings["encoder"] else "Ours began"
        said.append(f"{began} {'all else ' if settings['encoder'] else ''}from random weights.")
    if report["reference"]:
        said.append(f"Dice against {report['reference']}: mean difference, patient by patient; p of Wilcoxon's signed-rank test.")
    undefined = {
        heading(metric, report): count
        for metric in report["metrics"]
        if (count := max(row["metrics"].get(metric, {}).get("undefined", 0) for row in report["rows"]))
    }
    if undefined:
        words = ", ".join(f"{heading} of up to {count} case(s) in a row" for heading, count in undefined.items())
        said.append(f"Not defined, because a mask is empty, and left out: {words}.")
    return said


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
