"""The command that runs a paper's tables, without its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from napari_breastseg.cli.report import Report
from napari_breastseg.cli.train import FLAT_BATCH


def reproduce_table(
    speaker: Report, method: str, table: int, data: Path, out: Path, device: str, split: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Run a table on the cases in `data` and show it; `split` and `settings` are those of SplitPlan and Reproduction.

    Settings that are None are as Reproduction has them, or as the table's presets for images have them.
    """
    from napari_breastseg.evaluation.papers import paper_table
    from napari_breastseg.evaluation.reproduce import Reproduction, reproduce
    from napari_breastseg.evaluation.splits import SplitPlan
    from napari_breastseg.evaluation.tables import notes
    from napari_breastseg.io.cohort import find_cases

    wanted = paper_table(method, table)
    place = out / wanted.name
    presets = [row.preset for row in wanted.rows() if row.preset is not None]
    usual = {"batch": FLAT_BATCH, "patch": presets[0].patch[-1]} if presets[0].flat else {}
    settings = {key: usual.get(key, getattr(Reproduction, key)) if value is None else value for key, value in settings.items()}
    cases = find_cases(data)
    report = speaker.run(reproduce(cases, Reproduction(method, table, split=SplitPlan(**split), **settings), out, device))
    path = place / "table.md"
    speaker.answer({**report, "markdown": str(path)}, _short(report), *notes(report), f"The whole table, with intervals: {path}")


def _short(report: dict[str, Any]) -> Table:
    """Draw the means alone, ours before the paper's as far as it is known, narrow enough for a terminal."""
    from napari_breastseg.evaluation.tables import heading

    table = Table("row", "parameters, M", *(heading(name, report) for name in report["metrics"]), title="ours / the paper's", box=None)
    for row in report["rows"]:
        published, metrics = row["published"], row["metrics"]
        size = row["parameters"] and row["parameters"] / 1e6
        cells = [_pair(metrics[name]["mean"] if metrics else None, published.get(name), 3) for name in report["metrics"]]
        table.add_row(row["key"], row["missing"] or _pair(size, published.get("parameters_millions"), 2), *cells)
    return table


def _pair(ours: float | None, theirs: float | None, digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (ours, theirs) if value is not None) or "-"
