"""The whole loop on one case with a simulated annotator in the place of the person."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, slices
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.robot import Correction, correct
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session
from napari_breastseg.training.config import LearnConfig


def simulate(
    case: Case,
    reference: npt.NDArray[Any],
    model: str | Path = "hcma-unet",
    rounds: int = 3,
    session_path: Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Job[dict[str, Any]]:
    """Predict, let the robot correct, learn, predict again, `rounds` times.

    Parameters
    ----------
    case : Case
    reference : ndarray, shape (z, y, x)
        The truth, tumour where not 0, on the grid of the case.
    model : str or Path
        The model to begin with.
    rounds : int
    session_path : Path, optional
        A new folder to keep the session in; a temporary one if not given.
    device : str
    seed : int
        Of the robot.

    Returns
    -------
    dict
        JSON-ready: "case", "model" and "rounds". Round 0 is the model before any correction. Each round has "dice" (the model's own
        prediction), "dice_shown" (with all corrections laid over it), "strokes", "edited_voxels" (changed by them),
        "person_seconds" (of the robot, by its time model), "seconds" (of learning and predicting), "adopted" and "reasons".

    Raises
    ------
    InputError
        If the reference is on another grid or holds no tumour, or `rounds` is negative.
    BreastSegError
        What predicting, learning and the session raise.
    """
    if reference.shape != case.shape:
        raise InputError(f"The reference has shape {reference.shape}, the case {case.shape}. Give a reference on the case's grid.")
    if not reference.any():
        raise InputError("The reference contains no tumour voxel, so nothing can be corrected. Give a mask in which the tumour is drawn.")
    if rounds < 0:
        raise InputError(f"{rounds} rounds cannot be simulated. Give 0 or more.")
    rng = np.random.default_rng(seed)
    with session_in(session_path) as session:
        loop = AnnotationLoop(session, model, device)
        case_id = session.add_case(case)
        done: list[dict[str, Any]] = []
        for number in range(rounds + 1):
            row = yield from _round(loop, case_id, reference, rng, number)
            done.append(row)
            yield Progress(number + 1, rounds + 1, f"Round {number}: Dice {row['dice']:.3f}", payload=row)
        return {"case": case.name, "model": str(model), "rounds": done}


def _round(loop: AnnotationLoop, case_id: str, reference: npt.NDArray[Any], rng: np.random.Generator, number: int) -> Job[dict[str, Any]]:
    session = loop.session
    corrected = Correction((), 0.0, 0, 0)
    adopted, reasons, edited = False, list[str](), 0
    if number:
        corrected = correct(reference, session.mask(case_id), session.case(case_id).geometry, rng)
        edited = record(session, case_id, corrected)
    start = time.perf_counter()
    if number and corrected.strokes:
        adopted, reasons = yield from learn(loop)
    elif number:
        reasons = ["nothing was left to correct"]
    prediction = yield from loop.predict(case_id)
    return {
        "round": number,
        "dice": round(dice(prediction.refined, reference), 4),
        "dice_shown": round(dice(session.mask(case_id), reference), 4),
        "strokes": len(corrected.strokes),
        "edited_voxels": edited,
        "person_seconds": round(corrected.person_seconds, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "adopted": adopted,
        "reasons": reasons,
    }


def learn(loop: AnnotationLoop, config: LearnConfig | None = None) -> Job[tuple[bool, list[str]]]:
    """Learn and return whether the candidate was adopted and why; too little to learn from is a reason, not an end."""
    try:
        outcome = yield from loop.learn(config)
    except InputError as error:  # the robot, like a person, goes on correcting until there is enough
        return False, [str(error)]
    return outcome.adopted, list(outcome.reasons)


def record(session: Session, case_id: str, correction: Correction) -> int:
    """Store the robot's strokes as edits of the session and return the voxels that they changed.

    As in the dock, painting over what is shown right already says nothing: only voxels that change are recorded.
    """
    base, shown, edited = session.seq(case_id), session.mask(case_id), 0
    for stroke in correction.strokes:
        part = shown[slices(stroke.box)]
        changed = stroke.mask & (part != stroke.value)
        if changed.any():
            part[changed] = stroke.value
            base = session.record(case_id, Edit(stroke.box, changed, stroke.value, "robot brush", base))
            edited += int(changed.sum())
    return edited


@contextmanager
def session_in(path: Path | None = None) -> Iterator[Session]:
    """Make a session in the new folder `path`, or in a temporary one."""
    if path is not None:
        with Session.create(path) as session:
            yield session
        return
    with tempfile.TemporaryDirectory(prefix="napari-breastseg-") as folder, Session.create(Path(folder) / "session") as session:
        yield session
