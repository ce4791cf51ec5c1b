"""P1: up to five clicks on one case, as in the CVPR 2025 challenge on interactive 3-D segmentation.

Step 0 is the automatic prediction, where the challenge has a box. After each click the Dice coefficient (DSC) and the surface Dice (NSD,
tolerance 2 mm) of the shown mask are taken: "frozen" lays the clicks over the prediction, any other recipe learns from each click and
predicts again. Every case begins with the model as it is: nothing is carried from one case to the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.compute import Where, here
from napari_breastseg.evaluation.annotators.clicks import click
from napari_breastseg.evaluation.metrics import area_under_clicks, dice, nsd
from napari_breastseg.evaluation.protocols.cases import Example, Source, by_case, gained, summary
from napari_breastseg.evaluation.simulate import learn, session_in
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit
from napari_breastseg.training.config import LearnConfig

CLICKS = 5
POOR = 0.2
"""As in the challenge, the NSD of a mask whose DSC is not above this counts as 0."""
FIGURES = ("dsc_auc", "nsd_auc", "final_dsc", "final_nsd", "seconds")
PEERS = (
    {"name": "nnInteractive-based entry, the challenge's data (arXiv 2510.03189)", "dsc_auc": 2.4799, "nsd_auc": 2.5671, "final_dsc": 0.6385, "final_nsd": 0.6614},
    {"name": "DCM, the challenge's MRI (OpenReview jospESnUL9)", "final_dsc": 0.688},
    {"name": "DCM, the challenge's ultrasound (OpenReview jospESnUL9)", "final_dsc": 0.9385},
)  # fmt: skip
"""Figures that others published, on other data: an order of magnitude, not a comparison."""


def interactive(
    cases: Sequence[Source],
    recipes: Mapping[str, LearnConfig | None],
    seeds: Sequence[int] = (0,),
    model: str | Path = "hcma-unet",
    device: str = "auto",
    where: Where = here,
) -> Job[dict[str, Any]]:
    """Click on every case, with every recipe and seed.

    Parameters
    ----------
    cases : sequence of callable
        Each returns a case and its reference.
    recipes : mapping
        How to learn, by name; None leaves the model as it is.
    seeds : sequence of int
        Of the clicks and of learning.
    model : str or Path
    device : str
    where : callable
        Where learning runs.

    Returns
    -------
    dict
        JSON-ready. "rows": for each case, recipe and seed the DSC and NSD of the six steps and the figures of the challenge: "dsc_auc" and
        "nsd_auc" (over the clicks alone, at most 4), "final_dsc", "final_nsd", "seconds" (of the computer, all steps together). "recipes":
        means and intervals over cases. "gains": each recipe less the first one, case by case. "peers": figures of others.

    Raises
    ------
    BreastSegError
        What predicting, learning and the session raise.
    """
    rows: list[dict[str, Any]] = []
    total = len(cases) * len(recipes) * len(seeds)
    for make in cases:
        example = make()
        for seed in seeds:
            for name, config in recipes.items():
                learning = None if config is None else replace(config, seed=seed)
                row = {"recipe": name, "seed": seed, **(yield from _clicked(example, learning, seed, model, device, where))}
                rows.append(row)
                yield Progress(len(rows), total, f"{row['case']}, {name}: final DSC {row['final_dsc']:.3f}", payload=row)
    of = {name: [row for row in rows if row["recipe"] == name] for name in recipes}
    first, *others = of
    return {
        "protocol": "p1",
        "rows": rows,
        "recipes": {name: {figure: summary(by_case(part, figure)) for figure in FIGURES} for name, part in of.items()},
        "gains": {name: {figure: gained(of[name], of[first], figure) for figure in FIGURES} for name in others},
        "peers": list(PEERS),
    }


def _clicked(
    example: Example, config: LearnConfig | None, seed: int, model: str | Path, device: str, where: Where
) -> Job[dict[str, Any]]:
    case, reference = example
    rng = np.random.default_rng(seed)
    dices: list[float] = []
    surfaces: list[float] = []
    adopted, refused, seconds = 0, list[list[str]](), 0.0
    with session_in() as session:
        loop = AnnotationLoop(session, model, device, where)
        case_id = session.add_case(case)
        for step in range(CLICKS + 1):
            one = click(reference, session.mask(case_id), case.geometry, rng) if step else None
            started = time.perf_counter()
            if step == 0:
                yield from loop.predict(case_id)
            elif one is not None:
                session.record(case_id, Edit(one.box, one.mask, one.value, "robot click", session.seq(case_id)))
                if config is not None:
                    passed, reasons = yield from learn(loop, config)
                    adopted += passed
                    if passed:
                        yield from loop.predict(case_id)
                    else:
                        refused.append(reasons)
            seconds += time.perf_counter() - started
            shown = session.mask(case_id)
            dices.append(dice(shown, reference))
            surfaces.append(nsd(shown, reference, case.geometry.spacing) if dices[-1] > POOR else 0.0)
    return {
        "case": case.name,
        "dsc": [round(value, 4) for value in dices],
        "nsd": [round(value, 4) for value in surfaces],
        "dsc_auc": area_under_clicks(dices),
        "nsd_auc": area_under_clicks(surfaces),
        "final_dsc": dices[-1],
        "final_nsd": surfaces[-1],
        "seconds": round(seconds, 2),
        "adopted": adopted,
        "refused": refused,
    }
