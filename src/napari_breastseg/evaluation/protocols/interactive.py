"""P1: up to five clicks on one case, as in the CVPR 2025 challenge on interactive 3-D segmentation.

Step 0 is the automatic prediction, where the challenge has a box. At every step the Dice coefficient (DSC) and the surface Dice (NSD,
tolerance 2 mm) of the shown mask are taken. The recipe "frozen" lays the clicks over the prediction; others refine it with them, or learn
from each click and predict again. Every case begins with the model as it is: nothing is carried from one case to the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.compute import here
from napari_breastseg.evaluation.annotators.clicks import click
from napari_breastseg.evaluation.metrics import area_under_clicks, dice, nsd
from napari_breastseg.evaluation.protocols.annotate import looks_worse
from napari_breastseg.evaluation.protocols.material import Examination
from napari_breastseg.evaluation.protocols.recipes import recipe
from napari_breastseg.evaluation.protocols.stream_tables import markdown
from napari_breastseg.evaluation.protocols.trial import Cases, by_case, cell, claim_recipe, config_of, kept, paired, summary, written
from napari_breastseg.evaluation.simulate import learn, session_in
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit
from napari_breastseg.training.config import LearnConfig

CLICKS = 5
POOR = 0.2
"""As in the challenge, the NSD of a mask whose DSC is not above this counts as 0."""
FIGURES = {"dsc_auc": "DSC_AUC", "nsd_auc": "NSD_AUC", "final_dsc": "Final DSC", "final_nsd": "Final NSD", "seconds": "Runtime, s"}
PEERS: dict[str, Mapping[str, float]] = {
    "nnInteractive-based entry, data of the challenge (arXiv 2510.03189)": {
        "dsc_auc": 2.4799, "nsd_auc": 2.5671, "final_dsc": 0.6385, "final_nsd": 0.6614,
    },
    "DCM, MRI of the challenge (OpenReview jospESnUL9)": {"final_dsc": 0.688},
    "DCM, ultrasound of the challenge (OpenReview jospESnUL9)": {"final_dsc": 0.9385},
}  # fmt: skip
"""Figures that others published, on other data."""


def interactive(
    cases: Cases,
    out: Path,
    recipes: Sequence[str] = ("frozen", "refine", "full"),
    seeds: Sequence[int] = (0, 1, 2),
    model: str | Path = "hcma-unet",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Job[dict[str, Any]]:
    """Click on every case, with every recipe and seed; what was done stays in `out`, so that the same call goes on.

    Parameters
    ----------
    cases : Cases
    out : Path
    recipes : sequence of str
        See :data:`~napari_breastseg.evaluation.protocols.recipes.RECIPES`; the first one is what the others are compared with.
    seeds : sequence of int
        Of cases, clicks and learning.
    model : str or Path
    device : str
    settings : mapping, optional
        Of :class:`~napari_breastseg.training.config.LearnConfig`, on top of every recipe's.

    Returns
    -------
    dict
        JSON-ready. "rows": of each case, recipe and seed the DSC and NSD of the six steps and the figures of the challenge: "dsc_auc" and
        "nsd_auc" (over the clicks alone, at most 4), "final_dsc", "final_nsd", "seconds" (of the computer, all steps together). "recipes":
        their means and intervals over cases. "gains": each recipe less the first one, case by case. "peers": figures of others. Also
        "markdown" and "files".

    Raises
    ------
    InputError
        If a recipe is unknown, or `out` was begun with other cases or settings, or with another version of the recipe.
    BreastSegError
        What predicting, learning and the session raise.
    """
    configs = {(name, seed): config_of(name, seed, settings or {}) for name in recipes for seed in seeds}
    for name in recipes:
        claim_recipe(out / "p1" / name, name, cases, model, settings or {})
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for examination in cases.of(seed):
            for name in recipes:
                job = _clicked(examination, configs[name, seed], recipe(name).refines, seed, model, device)
                row = yield from kept(out / "p1" / name / f"{seed}-{examination.case.name}.json", job)
                rows.append({"recipe": name, "seed": seed, **row})
                yield Progress(len(rows), len(rows) + 1, f"{row['case']}, {name}: final DSC {row['final_dsc']:.3f}", payload=row)
    of = {name: [row for row in rows if row["recipe"] == name] for name in recipes}
    report = {
        "protocol": "p1",
        "rows": rows,
        "recipes": {name: {figure: summary(by_case(part, figure).values()) for figure in FIGURES} for name, part in of.items()},
        "gains": {name: {figure: paired(of[name], of[recipes[0]], figure) for figure in FIGURES} for name in recipes[1:]},
        "peers": PEERS,
    }
    return written(report, _text(report), out)


def _clicked(
    examination: Examination, config: LearnConfig | None, refines: bool, seed: int, model: str | Path, device: str
) -> Job[dict[str, Any]]:
    case, truth = examination.case, examination.truth
    rng = np.random.default_rng(seed)
    dices: list[float] = []
    surfaces: list[float] = []
    rounds: list[dict[str, Any]] = []
    seconds = 0.0
    with session_in() as session:
        loop = AnnotationLoop(session, model, device, here)
        case_id = session.add_case(case)
        for step in range(CLICKS + 1):
            one = click(truth, session.mask(case_id), case.geometry, rng) if step else None
            started = time.perf_counter()
            if step == 0:
                yield from loop.predict(case_id)
            elif one is not None:
                session.record(case_id, Edit(one.box, one.mask, one.value, "robot click", session.seq(case_id)))
                if config is not None:
                    adopted, reasons = yield from learn(loop, config)
                    rounds.append({"adopted": adopted, "reasons": reasons})
                    if adopted:
                        yield from loop.predict(case_id)
            painted = session.mask(case_id)
            if one is not None and refines and not case.flat:
                yield from loop.refine(case_id)
                if looks_worse(session.mask(case_id), painted, truth):
                    loop.unrefine(case_id)
            seconds += time.perf_counter() - started
            shown = session.mask(case_id)
            dices.append(dice(shown, truth))
            surfaces.append(nsd(shown, truth, case.geometry.spacing) if dices[-1] > POOR else 0.0)
    return {
        "case": case.name,
        "dsc": [round(value, 4) for value in dices],
        "nsd": [round(value, 4) for value in surfaces],
        "dsc_auc": area_under_clicks(dices),
        "nsd_auc": area_under_clicks(surfaces),
        "final_dsc": dices[-1],
        "final_nsd": surfaces[-1],
        "seconds": round(seconds, 2),
        "rounds": rounds,
    }


def _text(report: Mapping[str, Any]) -> str:
    rows = [[name, *(cell(figures[figure]) for figure in FIGURES)] for name, figures in report["recipes"].items()]
    rows += [[f"{name}, more", *(cell(figures[figure], sign="+") for figure in FIGURES)] for name, figures in report["gains"].items()]
    for name, figures in report["peers"].items():
        rows.append([name, *(f"{figures[figure]:g}" if figure in figures else "-" for figure in FIGURES)])
    cases = len({row["case"] for row in report["rows"]})
    notes = [
        f"Ours: mean over {cases} case(s) (95 % bootstrap interval over cases). Step 0 is the automatic prediction; AUC over the 5 clicks "
        "alone, at most 4. A click paints the largest ball that fits into the error. Runtime: all steps of a case together.",
        f"more: than {next(iter(report['recipes']))}, case by case.",
        "Rows with a source are other methods on other data, as published: an order of magnitude, not a comparison.",
    ]
    return markdown("P1: up to five clicks", [[["Recipe", *FIGURES.values()], *rows]], notes)
