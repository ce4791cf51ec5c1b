"""Tables of the streams for people: corrections (P2), forgetting (P4) and sloppy annotators (P5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_breastseg.evaluation.protocols.annotate import CAP, THRESHOLDS, VISIBLE
from napari_breastseg.evaluation.protocols.figures import TOLERANCE, TRAIL, Record, before, corrections, forgetting, paired_interval
from napari_breastseg.evaluation.protocols.recipes import RECIPES

Table = list[list[str]]
"""Headings, then rows."""

ANCHORS = (
    "Published, corrections saved against a frozen model: 9 to 30 % under a small shift of the domain, 12 to 44 % on one class, 60 to 77 % "
    "under a change of the domain (Kontogianni et al., ECCV 2020, arXiv 1911.12709; 2-D photographs and their clicks, so the order of "
    "magnitude compares, not the figure)."
)
STROKES = (
    "A correction is one stroke in one slice, with a brush whose size follows the shape: the largest disc that paints nothing wrong, in "
    f"the middle of the largest error, drawn out through it. At most {CAP} are made on a case. What counts is after how "
    f"many of them the Dice stays at a threshold, and {CAP} where it does not. A refinement that costs {VISIBLE} of Dice "
    "or more is taken back, which is no correction. "
    "Intervals: 95 %, paired bootstrap over (seed, case)."
)


def corrections_table(groups: Mapping[str, Sequence[Record]]) -> Table:
    """Tabulate P2; `groups` holds the records of each recipe, in the order of the seeds."""
    headings = [
        "recipe",
        "Dice before any correction",
        "in the second half",
        "more than frozen",
        *(f"corrections to {t:.2f}" for t in THRESHOLDS),
    ]
    headings += [f"0.85 not reached, of {sum(len(r['cases']) for r in next(iter(groups.values())))}"]
    headings += [*(f"saved to {t:.2f} against frozen" for t in THRESHOLDS), "cases with more to 0.85 than frozen"]
    rows = []
    for name, records in groups.items():
        figures = corrections(records, groups.get("frozen", ()))
        entries = [figures[f"corrections_to_{t:.2f}"] for t in THRESHOLDS]
        saved = ["" if name == "frozen" else _interval(e.get("saved_percent"), "{:.0f}", " %") for e in entries]
        more = "" if name == "frozen" else str(entries[1].get("more_than_frozen", ""))
        gain = "" if name == "frozen" else _interval(figures.get("dice_before_second_half_gain"), "{:+.3f}", "")
        means = [f"{figures['dice_before']:.3f}", f"{figures['dice_before_second_half']:.3f}"]
        needed = [f"{e['mean']:.1f}" for e in entries]
        rows.append([RECIPES[name].label, *means, gain, *needed, str(entries[1]["not_reached"]), *saved, more])
    return [headings, *rows]


def trail_table(groups: Mapping[str, Sequence[Record]]) -> Table:
    """Tabulate the mean Dice of the shown mask before any correction and after each of the first ones, and how many did no good."""
    rows = []
    for name, records in groups.items():
        figures = corrections(records, ())
        shares = [f"{figures[which]:.0f} %" for which in ("made_worse_percent", "taken_back_percent")]
        rows.append([RECIPES[name].label, *(f"{v:.3f}" for v in figures["dice_after"]), *shares])
    after = [f"after {number}" for number in range(1, TRAIL + 1)]
    return [["recipe", "before", *after, "corrections that made it worse", "whose refinement was taken back"], *rows]


def forgetting_table(groups: Mapping[str, Sequence[Record]]) -> Table:
    """Tabulate P4: means over the seeds, the worst seed in brackets, and counts over all seeds."""
    headings = [
        "recipe",
        "base set: before",
        "after",
        "change (worst seed)",
        "new domain: before",
        "after",
        "backward transfer (worst seed)",
    ]
    headings += ["worst drop of a case", "adopted", "refused", f"adopted, base set worse by > {TOLERANCE}", "adopted, new domain worse"]
    rows = []
    for name, records in groups.items():
        found = [forgetting(record) for record in records]
        start, end = ({key: float(np.mean([f[when][key] for f in found])) for key in ("base", "shifted")} for when in ("base", "final"))
        changes = [f["base_set_change"] for f in found]
        transfers = [f["backward_transfer"] for f in found if f["backward_transfer"] is not None]
        drops = [f["worst_drop"] for f in found if f["worst_drop"] is not None]
        counts = [str(sum(f[key] for f in found)) for key in ("adopted", "refused", "adopted_below_base", "adopted_below_base_on_shifted")]
        row = [RECIPES[name].label, f"{start['base']:.3f}", f"{end['base']:.3f}", _worst(changes), f"{start['shifted']:.3f}"]
        rows.append([*row, f"{end['shifted']:.3f}", _worst(transfers), f"{max(drops):.3f}" if drops else "", *counts])
    return [headings, *rows]


def sloppy_table(groups: Mapping[str, Mapping[str, Sequence[Record]]]) -> Table:
    """Tabulate P5; `groups` holds for each recipe the records with the "exact" and with the "sloppy" annotator."""
    headings = [
        "recipe",
        "annotator",
        "corrections to 0.85",
        "saved to 0.85 against frozen",
        "Dice before any correction",
        "new domain, final",
        "base set, change (worst seed)",
        "adopted",
        "refused",
    ]
    headings += [f"adopted, base set worse by > {TOLERANCE}", "adopted, new domain worse", "Dice before, against exact"]
    rows = []
    for name, pair in groups.items():
        for annotator, records in pair.items():
            found = [forgetting(record) for record in records]
            dices, exact = ([v for record in some for v in before(record)] for some in (records, pair["exact"]))
            against = "" if annotator == "exact" else _interval(paired_interval(dices, exact, relative=False), "{:+.3f}", "")
            counts = [str(sum(f[k] for f in found)) for k in ("adopted", "refused", "adopted_below_base", "adopted_below_base_on_shifted")]
            final = f"{np.mean([f['final']['shifted'] for f in found]):.3f}"
            change = _worst([f["base_set_change"] for f in found])
            entry = corrections(records, groups["frozen"][annotator] if "frozen" in groups else ())["corrections_to_0.85"]
            saved = "" if name == "frozen" else _interval(entry.get("saved_percent"), "{:.0f}", " %")
            effort = [f"{entry['mean']:.1f}", saved, f"{np.mean(dices):.3f}"]
            rows.append([RECIPES[name].label, annotator, *effort, final, change, *counts, against])
    return [headings, *rows]


def markdown(title: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Draw tables and notes as a Markdown document."""
    lines = [f"# {title}", ""]
    for headings, *rows in tables:
        lines += [_line(headings), _line(["---"] * len(headings)), *map(_line, rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(figure: Sequence[float] | None, form: str, unit: str) -> str:
    if figure is None:
        return ""
    middle, low, high = map(form.format, figure)
    return f"{middle}{unit} ({low} to {high})"


def _worst(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.3f} ({min(values):+.3f})" if values else ""


def as_json(groups: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """Return the figures of each recipe, JSON-ready."""
    frozen = groups.get("frozen", ())
    return {name: {**corrections(rows, frozen), "forgetting": [forgetting(row) for row in rows]} for name, rows in groups.items()}
