"""Does the queue's order pay? Cases picked by the queue against as many picked at random from the same pool.

The pool is mixed, by halves: examinations as the base model learned from and examinations of another scanner. Each case that is picked is
corrected completely, a learning round follows after every two, and what was learned is judged on a fixed mixed set. Both orders of a seed
share pool, learning seeds and base model. The gate is off, so that what is compared is what the cases teach, not how much of it may pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_breastseg.compute import here
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.evaluation.protocols.material import SHIFTED_SHAPE, Examination, examinations
from napari_breastseg.evaluation.protocols.trial import cell, kept, summary, written
from napari_breastseg.evaluation.simulate import learn, session_in
from napari_breastseg.inference import predict
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.loop.approval import record_mask
from napari_breastseg.loop.queue import queue
from napari_breastseg.methods.model import load_model
from napari_breastseg.phantom import OTHER_SCANNER
from napari_breastseg.progress import Job
from napari_breastseg.session import Session
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.settings import claim_folder

Order = Literal["queue", "random"]
ORDERS: tuple[Order, ...] = ("queue", "random")
POOLS, POOL_STEP, TEST, APART = 500_000, 1_000, 600_000, 500
"""First phantom seed of the pool 0, from there to the next pool, of the test set, and from one half of a set to the other."""
ROUNDS, BATCH, TESTED = 2, 2, 12
"""Learning rounds, cases corrected before each, cases of the test set."""
UNGATED: Mapping[str, Any] = {"gate": False}


def queueing(
    out: Path, pool: int, seeds: int, model: str, device: str = "auto", settings: Mapping[str, Any] | None = None
) -> Job[dict[str, Any]]:
    """Compare the orders on `seeds` pools of `pool` cases, or go on where `out` ends.

    Parameters
    ----------
    out : Path
        Folder of the records of single runs and of the report.
    pool, seeds : int
    model : str
        The base model.
    device : str
    settings : mapping, optional
        Of :class:`~napari_breastseg.training.config.LearnConfig`.

    Returns
    -------
    dict
        JSON-ready. "runs": for each order and seed "dice", the mean on the test set with 0, 2 and 4 corrected cases, "area", their mean
        by the trapezoid rule, the "picked" cases and the "adopted" rounds. "orders": means over seeds. "gain": of the queue over random
        order in area, seed by seed. "markdown" and "files".

    Raises
    ------
    InputError
        If the pool is too small, or `out` holds runs with other settings.
    BreastSegError
        What predicting, learning and the session raise.
    """
    if pool < ROUNDS * BATCH or seeds < 1:
        raise InputError(f"{seeds} pool(s) of {pool} cases cannot be queued. Give at least one of {ROUNDS * BATCH}.")
    folder = out / "queue"
    claim_folder(folder, {"pool": pool, "model": load_model(model).sha, "learning": asdict(LearnConfig(**{**UNGATED, **(settings or {})}))})
    runs = []
    for seed in range(seeds):
        for order in ORDERS:
            job = _run(order, seed, pool, model, device, settings or {}, folder)
            runs.append((yield from kept(folder / f"{order}-{seed}.json", job)))
    of = {order: [run for run in runs if run["order"] == order] for order in ORDERS}
    report = {
        "protocol": "queue",
        "pool": pool,
        "runs": runs,
        "orders": {order: _figures(found) for order, found in of.items()},
        "gain": summary(ours["area"] - random["area"] for ours, random in zip(of["queue"], of["random"], strict=True)),
    }
    return written(report, _text(report), out)


def mixture(first: int, cases: int) -> list[Examination]:
    """Make examinations of another scanner (from phantom seed `first` on) and of the base domain (:data:`APART` further) in turn."""
    shifted, base = examinations(first, SHIFTED_SHAPE, OTHER_SCANNER), examinations(first + APART, SHIFTED_SHAPE, None)
    return [one for pair in islice(zip(shifted, base, strict=False), (cases + 1) // 2) for one in pair][:cases]


def _run(order: Order, seed: int, pool: int, model: str, device: str, settings: Mapping[str, Any], folder: Path) -> Job[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    picked: list[str] = []
    adopted: list[bool] = []
    with session_in() as session:
        loop = AnnotationLoop(session, model, device, where=here)
        known = {session.add_case(one.case): one for one in mixture(POOLS + POOL_STEP * seed, pool)}
        curve = [(yield from _judged(session, device, folder))]
        for number in range(ROUNDS):
            for case_id in (yield from _pick(order, session, rng, device)):
                yield from loop.predict(case_id)
                record_mask(session, case_id, known[case_id].truth)
                picked.append(known[case_id].case.name)
            passed, _ = yield from learn(loop, LearnConfig(**{"seed": 100 * seed + number, **UNGATED, **settings}))
            adopted.append(passed)
            curve.append((yield from _judged(session, device, folder)))
    area = float(np.trapezoid(curve) / ROUNDS)
    return {"order": order, "seed": seed, "dice": [round(value, 4) for value in curve], "area": area, "picked": picked, "adopted": adopted}


def _pick(order: Order, session: Session, rng: np.random.Generator, device: str) -> Job[list[str]]:
    """Return the next cases to correct; the queue is asked again after every round."""
    if order == "queue":
        found = yield from queue(session, device=device)
        return [one.case_id for one in found[:BATCH]]
    waiting = [case_id for case_id in session.cases if session.seq(case_id) == 0 and not session.marks(case_id)]
    return [waiting[index] for index in rng.permutation(len(waiting))[:BATCH]]


def _judged(session: Session, device: str, folder: Path) -> Job[float]:
    """Return the current model's mean Dice on the test set, which is kept by model: all runs begin with the same one."""
    sha = str(session.current_model)
    found = yield from kept(folder / "models" / f"{sha}.json", _tested(session.model_path(sha), device))
    return float(np.mean(found["dice"]))


def _tested(weights: Path, device: str) -> Job[dict[str, Any]]:
    model = load_model(weights)
    scores = []
    for one in mixture(TEST, TESTED):
        prediction = yield from predict(one.case, model, device=device)
        scores.append(dice(prediction.refined, one.truth))
    return {"dice": scores}


def _figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    curve = np.mean([run["dice"] for run in runs], axis=0)
    return {"dice": [round(float(value), 4) for value in curve], "area": summary(run["area"] for run in runs)}


def _text(report: Mapping[str, Any]) -> str:
    """Draw the report as a Markdown document."""
    counts = [str(BATCH * number) for number in range(ROUNDS + 1)]
    rows = [
        f"| {order} | {' | '.join(f'{value:.3f}' for value in found['dice'])} | {cell(found['area'])} |"
        for order, found in report["orders"].items()
    ]
    seeds = len(report["runs"]) // len(ORDERS)
    better = sum(a["area"] > b["area"] for a, b in zip(report["runs"][::2], report["runs"][1::2], strict=True))
    lines = [
        "# Which case next: the queue against random order",
        "",
        f"| order | {' | '.join(f'{count} corrected' for count in counts)} | area |",
        f"|{' --- |' * (len(counts) + 2)}",
        *rows,
        "",
        f"Mean Dice of the model's own predictions on {TESTED} fixed phantoms, half of them from another scanner, by the number of "
        f"corrected cases out of pools of {report['pool']}; {seeds} pool(s); all that was learned is adopted, without the gate. Area: "
        "under that curve, as a mean Dice.",
        f"The queue's area less that of random order, pool by pool: {cell(report['gain'], 3, '+')} (95 % bootstrap interval over pools); "
        f"larger in {better} of {seeds}.",
    ]
    return "\n".join(lines) + "\n"
