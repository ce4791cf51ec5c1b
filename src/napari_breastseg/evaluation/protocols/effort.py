"""P3: minutes of a person per case, by RootPainter's time model in three planes: correcting the prediction against painting from scratch.

The robot of :mod:`napari_breastseg.evaluation.annotators.robot` corrects, round after round, until the case is good: Dice 0.90, or no error
left but those within two pixels of the border, with no part of the tumour missing altogether. From scratch it does the same with an empty
mask. A case whose prediction is good costs nothing. Waiting for the computer is not counted: a person goes on with other work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Geometry, slices
from napari_breastseg.compute import here
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.robot import Correction, correct, near_border
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.evaluation.protocols.recipes import recipe
from napari_breastseg.evaluation.protocols.stream_tables import markdown
from napari_breastseg.evaluation.protocols.trial import Cases, by_case, cell, claim_recipe, config_of, kept, paired, summary, written
from napari_breastseg.evaluation.simulate import learn, record, session_in
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.loop.approval import approve
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.config import LearnConfig

GOOD = 0.90
"""Dice at which a case is good."""
LONGEST = 200
"""Rounds after which the robot gives a case up."""

Mask = npt.NDArray[Any]


def corrections(truth: Mask, mask: Mask, geometry: Geometry, rng: np.random.Generator) -> Iterator[Correction]:
    """Correct a copy of `mask` round after round until it is good.

    Parameters
    ----------
    truth, mask : ndarray, shape (z, y, x)
        Tumour where not 0.
    geometry : Geometry
    rng : Generator
    """
    wanted, shown = truth.astype(bool), mask.astype(bool)
    away = [~near_border(wanted, axis) for axis in range(3)]
    parts, _ = ndimage.label(wanted, np.ones((3, 3, 3)))
    for _ in range(LONGEST):
        errors = wanted ^ shown
        missing = np.setdiff1d(parts, parts[shown])
        if dice(shown, wanted) >= GOOD or not (missing.any() or any((errors & far).any() for far in away)):
            return
        done = correct(wanted, shown, geometry, rng)
        for stroke in done.strokes:
            shown[slices(stroke.box)][stroke.mask] = bool(stroke.value)
        yield done


def effort(
    cases: Cases,
    out: Path,
    recipes: Sequence[str] = ("frozen", "learn"),
    seeds: Sequence[int] = (0, 1, 2),
    model: str | Path = "hcma-unet",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Job[dict[str, Any]]:
    """Let the robot work through the cases of each seed in order, learning after each case or not; finished streams stay in `out`.

    Parameters
    ----------
    cases : Cases
    out : Path
    recipes : sequence of str
        See :data:`~napari_breastseg.evaluation.protocols.recipes.RECIPES`; the first one is what the others are compared with.
    seeds : sequence of int
        Of cases, robot and learning.
    model : str or Path
    device : str
    settings : mapping, optional
        Of :class:`~napari_breastseg.training.config.LearnConfig`, on top of every recipe's.

    Returns
    -------
    dict
        JSON-ready. "rows": of each case, recipe and seed "dice" (the model's own) and "dice_corrected", "minutes" of the person and
        "scratch_minutes", "strokes" and "scratch_strokes", and whether the round after the case was "adopted". "recipes": their means and
        intervals over cases, with "saved", the paired difference of scratch and correcting. "gains": minutes of the first recipe less
        those of each other one, case by case. Also "markdown" and "files".

    Raises
    ------
    InputError
        If a recipe is unknown or refines, which takes no time in this model, or `out` was begun with other cases or settings, or
        with another version of the recipe.
    BreastSegError
        What predicting, learning and the session raise.
    """
    refining = [name for name in recipes if recipe(name).refines]
    if refining:
        raise InputError(f"P3 has no time for refining. Leave {', '.join(refining)} out, or choose p1 or p2.")
    configs = {(name, seed): config_of(name, seed, settings or {}) for name in recipes for seed in seeds}
    for name in recipes:
        claim_recipe(out / "p3" / name, name, cases, model, settings or {})
    rows: list[dict[str, Any]] = []
    for (name, seed), config in configs.items():
        job = _stream(cases, seed, config, model, device)
        done = yield from kept(out / "p3" / name / f"{seed}.json", job)
        rows += [{"recipe": name, "seed": seed, **row} for row in done["rows"]]
    of = {name: [row for row in rows if row["recipe"] == name] for name in recipes}
    report = {
        "protocol": "p3",
        "rows": rows,
        "recipes": {name: _means(part) for name, part in of.items()},
        "gains": {name: paired(of[recipes[0]], of[name], "minutes") for name in recipes[1:]},
    }
    return written(report, _text(report), out)


def _stream(cases: Cases, seed: int, config: LearnConfig | None, model: str | Path, device: str) -> Job[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with session_in() as session:
        loop = AnnotationLoop(session, model, device, here)
        for number, one in enumerate(cases.of(seed)):
            case_id = session.add_case(one.case)
            yield from loop.predict(case_id)
            before = session.mask(case_id)
            made = []
            for correction in corrections(one.truth, before, one.case.geometry, np.random.default_rng((seed, number))):
                made.append(correction)
                record(session, case_id, correction)
            empty = np.zeros_like(before)
            scratch = list(corrections(one.truth, empty, one.case.geometry, np.random.default_rng((seed, number))))
            row = {
                "case": one.case.name,
                "dice": round(dice(before, one.truth), 4),
                "dice_corrected": round(dice(session.mask(case_id), one.truth), 4),
                "minutes": _minutes(made),
                "scratch_minutes": _minutes(scratch),
                "strokes": sum(len(correction.strokes) for correction in made),
                "scratch_strokes": sum(len(correction.strokes) for correction in scratch),
            }
            if config is not None:
                approve(session, case_id)
                row["adopted"], row["reasons"] = yield from learn(loop, config)
            rows.append(row)
            yield Progress(number + 1, number + 2, f"{row['case']}: {row['minutes']:.2f} min", payload=row)
    return {"rows": rows}


def _minutes(made: Sequence[Correction]) -> float:
    return sum(correction.person_seconds for correction in made) / 60


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("dice", "minutes", "scratch_minutes", "strokes", "scratch_strokes")
    figures = {name: by_case(rows, name) for name in names}
    saved = [figures["scratch_minutes"][case] - minutes for case, minutes in figures["minutes"].items()]
    return {name: summary(values.values()) for name, values in figures.items()} | {"saved": summary(saved)}


def _text(report: Mapping[str, Any]) -> str:
    names = {"dice": 3, "minutes": 2, "scratch_minutes": 2, "saved": 2, "strokes": 1}
    first, gains = next(iter(report["recipes"])), report["gains"]
    rows = [
        [name, *(cell(figures[figure], digits) for figure, digits in names.items()), cell(gains[name], 2) if name in gains else "-"]
        for name, figures in report["recipes"].items()
    ]
    cases = len({row["case"] for row in report["rows"]})
    headings = ["Recipe", "Dice before", "Minutes", "From scratch", "Saved", "Strokes", f"Saved against {first}"]
    notes = [
        f"Mean over {cases} case(s) (95 % bootstrap interval over cases); differences are paired by case. A simulated annotator with "
        f"RootPainter's time model in three planes corrects to Dice {GOOD:.2f}, or until only errors within two pixels of the border are "
        "left. People are less exact and slower: read the differences, not the minutes.",
    ]
    return markdown("P3: minutes of a person per case", [[headings, *rows]], notes)
