"""P2, P4 and P5: the same streams with several recipes, seeds and annotators, and the report on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import stream_tables as tables
from napari_breastseg.evaluation.protocols.figures import Record, seconds
from napari_breastseg.evaluation.protocols.recipes import RECIPES, recipe
from napari_breastseg.evaluation.protocols.stream import Plan, run_stream
from napari_breastseg.evaluation.protocols.stream_plots import draw_streams
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.progress import Job

DEFAULT_RECIPES: Mapping[str, Sequence[str]] = {
    "p2": ("frozen", "refine", "learn", "full"),
    "p4": tuple(name for name, one in RECIPES.items() if name == "frozen" or one.learns),
    "p5": ("frozen", "refine", "full"),
}
TITLES = {"p2": "Corrections on a stream of cases", "p4": "Forgetting on a stream of cases", "p5": "Sloppy annotators on a stream of cases"}
SLOPPY = (
    "Sloppy: strokes tremble by 2 mm along each axis, 10 % of the errors are never seen, 10 % of the strokes paint beside the error (half "
    "of them with the wrong value), and what was overlooked or painted wrong is approved when the case is done."
)


def simulate_streams(protocol: str, recipes: Sequence[str], seeds: int, plan: Plan, out: Path, device: str = "auto") -> Job[dict[str, Any]]:
    """Run the streams of a protocol that `out` does not hold yet, and write its report there.

    Parameters
    ----------
    protocol : str
        "p2" corrections, "p4" forgetting, "p5" sloppy annotators; p2 and p4 report on the same streams.
    recipes : sequence of str
        Those of the protocol if empty.
    seeds : int
        Streams of each recipe, with the seeds 0, 1, ...
    plan : Plan
        What the streams have in common.
    out : Path

    Returns
    -------
    dict
        JSON-ready: "figures" of each recipe (for p5 of each annotator), "seconds" of each step of each recipe, "markdown", "files".

    Raises
    ------
    InputError
        If a recipe or the protocol is unknown, or `out` holds other streams of the same names.
    """
    if protocol not in TITLES or seeds < 1 or plan.cases < 1:
        raise InputError(f"Protocol {protocol!r} with {seeds} seed(s) of {plan.cases} case(s) cannot be run. Choose {', '.join(TITLES)}.")
    names = recipes or DEFAULT_RECIPES[protocol]
    for name in names:
        recipe(name)
    found: dict[str, dict[str, list[Record]]] = {}
    for annotator in ("exact", "sloppy") if protocol == "p5" else ("exact",):
        for seed in range(seeds):  # all recipes of a seed first: what is there early can be compared
            for name in names:
                record = yield from run_stream(replace(plan, recipe=name, seed=seed, annotator=annotator), out, device)
                found.setdefault(annotator, {}).setdefault(name, []).append(record)
    return _report(protocol, found, out)


def _report(protocol: str, found: Mapping[str, Mapping[str, Sequence[Record]]], out: Path) -> dict[str, Any]:
    exact = found["exact"]
    drawn: list[Path] = []
    settings = next(iter(exact.values()))[0]["settings"]
    notes = [f"Streams of {settings['cases']} cases; a round of learning after every {settings['learn_every']}. {tables.STROKES}"]
    if protocol == "p5":
        shown = [tables.sloppy_table({name: {annotator: found[annotator][name] for annotator in found} for name in exact})]
        notes.append(SLOPPY)
    elif protocol == "p4":
        shown = [tables.forgetting_table(exact)]
        drawn = draw_streams(exact, out)
    else:
        shown = [tables.corrections_table(exact), tables.trail_table(exact)]
        notes.append(tables.ANCHORS)
        drawn = draw_streams(exact, out)
    text = tables.markdown(TITLES[protocol], shown, notes)
    figures = {annotator: tables.as_json(groups) for annotator, groups in found.items()}
    timed = {name: seconds([record for groups in found.values() for record in groups[name]]) for name in exact}
    report = {"protocol": protocol, "figures": figures, "seconds": timed}
    write_atomically(out / f"{protocol}.md", text.encode())
    write_atomically(out / f"{protocol}.json", json.dumps(report, indent=1).encode())
    files = [out / f"{protocol}.md", out / f"{protocol}.json", *drawn]
    return {**report, "markdown": text, "files": [str(path) for path in files]}
