"""P2, a stream of cases: predict, correct and refine, call it done, learn, next case; everything through the session, loop and the gate.

What is learned on the way is judged apart from the session: each adopted version on two fixed sets, and on the earlier cases now and then
(P4, see :func:`napari_breastseg.evaluation.protocols.figures.forgetting`). A stream that was killed goes on where it stopped: the strokes
on a case follow from its prediction, so those that the session holds already are not made again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.compute import here
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.sloppy import Annotator, Exact, Sloppy
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.evaluation.protocols.annotate import Corrected, annotate
from napari_breastseg.evaluation.protocols.material import Examination, Material, base_set, shifted_set, stream
from napari_breastseg.evaluation.protocols.recipes import recipe
from napari_breastseg.inference import predict, refine
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.loop.approval import approve
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.settings import claim_folder

ANNOTATORS: dict[str, Annotator] = {"exact": Exact(), "sloppy": Sloppy()}
TOOL = "robot stroke"


@dataclass(frozen=True)
class Plan:
    """One stream.

    Parameters
    ----------
    recipe : str
        See :data:`~napari_breastseg.evaluation.protocols.recipes.RECIPES`.
    seed : int
        Of the cases, of the annotator and of learning.
    cases : int
    annotator : str
        "exact" or "sloppy".
    learn_every : int
        Cases between learning rounds.
    look_back_every : int
        Cases between looks at all earlier cases; the end of the stream is one in any case.
    model : str
        The base model.
    settings : mapping
        Of :class:`~napari_breastseg.training.config.LearnConfig`, on top of the recipe's.
    """

    recipe: str
    seed: int
    cases: int = 24
    annotator: str = "exact"
    learn_every: int = 4
    look_back_every: int = 12
    model: str = "hcma-unet"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Folder of the stream."""
        return f"{self.recipe}-{self.annotator}-{self.seed}"


def run_stream(plan: Plan, out: Path, device: str = "auto", material: Material | None = None) -> Job[dict[str, Any]]:
    """Run a stream, or go on with it, and return its record, which stays in ``out/<name>/record.json``; the session goes when all is done.

    Without `material` the cases are phantoms.

    Returns
    -------
    dict
        JSON-ready: "settings"; "base", the base model's Dice on the fixed sets; "cases", in order, each with its "dice" before any
        correction and after each one and the "seconds" spent; "rounds", each with "after" so many cases, "adopted", "reasons", and as far
        as they were measured the Dice of the version that is current then: "sets" the fixed sets, "learned" the cases just learned,
        "earlier" all cases so far; "complete".

    Raises
    ------
    InputError
        If the folder holds a stream with other settings, or the recipe is unknown.
    BreastSegError
        What predicting, learning and the session raise.
    """
    folder = out / plan.name
    made = recipe(plan.recipe)
    config = asdict(LearnConfig(**made.settings, **plan.settings)) if made.learns else {}
    claim_folder(folder, asdict(plan) | {"made": asdict(made), "learning": config})
    path = folder / "record.json"
    record = json.loads(path.read_text()) if path.is_file() else {"settings": asdict(plan), "cases": [], "rounds": [], "complete": False}
    if record["complete"]:
        return dict(record)
    place = folder / "session"
    with Session.open(place) if place.is_dir() and any(place.iterdir()) else Session.create(place) as session:
        cases = material or Material(stream, lambda: {"base": base_set(), "shifted": shifted_set()})
        yield from _Run(plan, cases, session, record, path, out / "sets", device).go()
    record["complete"] = True
    _write(path, record)
    shutil.rmtree(place)
    return dict(record)


class _Run:
    """A stream at work on its session; `record` is what is known so far, written after every step."""

    def __init__(
        self, plan: Plan, material: Material, session: Session, record: dict[str, Any], path: Path, scores: Path, device: str
    ) -> None:
        self.plan, self.session, self.record, self.path, self.scores, self.device = plan, session, record, path, scores, device
        self.material = material
        self.recipe = recipe(plan.recipe)
        self.loop = AnnotationLoop(session, plan.model, device, where=here)
        self.seen: list[Examination] = []

    def go(self) -> Job[None]:
        if "base" not in self.record:
            self.record["base"] = yield from self._sets()
        for number, examination in enumerate(self.material.stream(self.plan.seed, self.plan.cases)):
            yield Progress(number, self.plan.cases, f"{self.plan.name}: case {number + 1}")
            self.seen.append(examination)
            if len(self.record["cases"]) == number:
                row = yield from self._case(number, examination)
                self.record["cases"].append(row)
                _write(self.path, self.record)
            if self._due(number + 1) and self._last_round() < number + 1:
                row = yield from self._round(number + 1)
                self.record["rounds"].append(row)
                _write(self.path, self.record)

    def _due(self, after: int) -> bool:
        return after % self.plan.learn_every == 0 or after == self.plan.cases

    def _last_round(self) -> int:
        return int(self.record["rounds"][-1]["after"]) if self.record["rounds"] else 0

    def _case(self, number: int, examination: Examination) -> Job[dict[str, Any]]:
        """Predict a case and correct it until it is done."""
        case_id = self.session.add_case(examination.case)
        started = time.perf_counter()
        prediction = self.loop.own_prediction(case_id) or (yield from self.loop.predict(case_id))
        predicted = time.perf_counter()
        rng = np.random.default_rng((self.plan.seed, number))
        annotator = ANNOTATORS[self.plan.annotator]
        refines = self.recipe.refines and not examination.case.flat
        refiner = partial(refine, examination.case, prediction) if refines else None
        done = yield from annotate(prediction.refined, examination.truth, examination.case.geometry, annotator, rng, refiner)
        annotated = time.perf_counter()
        self._record(case_id, done)
        seconds = {"predict": predicted - started, "annotate": annotated - predicted, "record": time.perf_counter() - annotated}
        return {
            "case": examination.case.name,
            "ml": round(float(examination.truth.sum()) * examination.case.geometry.voxel_ml, 3),
            "dice": [round(value, 4) for value in done.dice],
            "taken_back": done.taken_back,
            "seconds": _rounded(seconds),
        }

    def _record(self, case_id: str, done: Corrected) -> None:
        """Record the strokes that change something, but for those that are recorded already, and what was shown at last.

        A case that looks good enough is done.
        """
        if any(mark.what == "case-done" for mark in self.session.marks(case_id)):
            return
        for seq, one in enumerate(one for one in done.strokes if one.mask.any()):
            if seq >= self.session.seq(case_id):
                self.session.record(case_id, Edit(one.box, one.mask, one.value, TOOL, seq))
        if done.refined is not None and not self.session.predictions(case_id)[-1].refined:
            self.session.add_prediction(case_id, done.refined)
        if done.good_enough:
            approve(self.session, case_id)

    def _round(self, after: int) -> Job[dict[str, Any]]:
        """Learn, if the recipe does, and judge what is current then."""
        started = time.perf_counter()
        row: dict[str, Any] = {"after": after} | (yield from self._learn(after))
        learned = time.perf_counter()
        if row["adopted"]:
            row["sets"] = yield from self._sets()
        first = self._last_round()
        row["learned"] = yield from self._dice(self.seen[first:])
        if self.recipe.learns and (after % self.plan.look_back_every == 0 or after == self.plan.cases):
            row["earlier"] = (yield from self._dice(self.seen[:first])) + row["learned"]
        row["seconds"] = _rounded({"learn": learned - started, "judge": time.perf_counter() - learned})
        return row

    def _learn(self, after: int) -> Job[dict[str, Any]]:
        if not self.recipe.learns:
            return {"adopted": False, "reasons": []}
        known = {row["number"] for row in self.record["rounds"] if "number" in row}
        rounds = [row for row in self.session.rounds() if row.id not in known]
        if not rounds:  # else the stream was killed between the round and its record
            config = LearnConfig(**{"seed": 1000 * self.plan.seed + after, **self.recipe.settings, **self.plan.settings})
            try:
                yield from self.loop.learn(config)
            except InputError as error:  # a person goes on with the next case until there is enough to learn from
                return {"adopted": False, "reasons": [str(error)]}
            rounds = self.session.rounds()
        last = rounds[-1]
        return {"number": last.id, "adopted": last.adopted, "reasons": list(last.reasons), "figures": dict(last.figures)}

    def _sets(self) -> Job[dict[str, list[float]]]:
        """Return the current model's Dice on the fixed sets, which is kept for all streams: they begin with the same model."""
        path = self.scores / f"{self.session.current_model}.json"
        if not path.is_file():
            found = {}
            for name, examinations in self.material.sets().items():
                found[name] = yield from self._dice(examinations)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, found)
        return dict(json.loads(path.read_text()))

    def _dice(self, examinations: Sequence[Examination]) -> Job[list[float]]:
        """Return the Dice of the current model, without corrections, on each examination."""
        model = load_model(self.session.model_path(str(self.session.current_model)))
        found = []
        for number, one in enumerate(examinations):
            yield Progress(number, len(examinations), f"{self.plan.name}: judging version {model.sha[:8]}")
            prediction = yield from predict(one.case, model, device=self.device)
            found.append(round(dice(prediction.refined, one.truth), 4))
        return found


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in seconds.items()}


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(record, indent=1).encode())
