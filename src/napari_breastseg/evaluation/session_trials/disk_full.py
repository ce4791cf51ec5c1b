"""A disk that is full at a random moment: refused in words, the earlier state intact, and work goes on when there is space again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.errors import SessionError
from napari_breastseg.evaluation.session_trials import mounts
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import SHAPE, small_case, small_prediction, small_weights
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session

MEGABYTES = 2
MOST_ROOM = 200_000
"""Bytes that are free at most when the disk begins to fill."""


def full_disks(place: Path, count: int = 50) -> Job[Trial]:
    """Fill the disk at `count` random moments of a session's life."""
    rng = np.random.default_rng()
    refused: dict[str, int] = {}
    problems: list[str] = []
    try:
        with mounts.tmpfs(place / "small", MEGABYTES) as disk:
            for number in range(count):
                yield Progress(number, count, "Filling the disk")
                problems += _fill_once(disk, int(rng.integers(MOST_ROOM)), rng, refused)
                shutil.rmtree(disk / "session")
    except mounts.NotAllowed as error:
        return Trial("disk-full", skipped=str(error))
    aims = (
        Aim("edits refused in words", refused.get("edit", 0), count, at_least=True),
        Aim("states changed, refusals unclear, or work that did not go on", len(problems)),
    )
    return Trial("disk-full", aims, {"moments": count, "refused": refused}, tuple(problems))


def _fill_once(disk: Path, room: int, rng: np.random.Generator, refused: dict[str, int]) -> list[str]:
    """Work with `room` bytes left until an edit is refused, then with space again; return what went wrong."""
    history, problems = History(SHAPE), []
    folder = disk / "session"
    with Session.create(folder) as session:
        case_id = session.add_case(small_case())
        with filled(disk, room):
            while True:
                what = str(rng.choice(["edit", "undo", "prediction", "model", "snapshot"], p=[0.8, 0.05, 0.05, 0.05, 0.05]))
                try:
                    _work(session, case_id, what, history, disk)
                except SessionError as error:
                    refused[what] = refused.get(what, 0) + 1
                    problems += [] if "the disk is full" in str(error) else [f"The {what} was refused unclearly: {error}"]
                    if what == "edit":
                        break
            problems += _differences(session, case_id, history)
        for what in ("edit", "prediction", "model", "snapshot"):
            try:
                _work(session, case_id, what, history, disk)
            except SessionError as error:
                problems.append(f"With space again, the {what} was refused: {error}")
    with Session.open(folder) as session:
        return problems + _differences(session, case_id, history)


def _work(session: Session, case_id: str, what: str, history: History, disk: Path) -> None:
    match what:
        case "edit":
            edit = noisy_edit(history.seq)
            session.record(case_id, edit)
            history.record(edit)
        case "undo":
            if session.undo(case_id) is not None:
                history.undo()
        case "prediction":
            session.add_prediction(case_id, small_prediction(0))
        case "model":
            session.add_model(small_weights(history.seq, disk.with_name("weights.safetensors")), {})
        case _:
            session.snapshot(case_id)


def _differences(session: Session, case_id: str, history: History) -> list[str]:
    """Compare every version with what was acknowledged, and verify."""
    if session.seq(case_id) != history.seq:
        return [f"The annotation stands at {session.seq(case_id)}, but {history.seq} was acknowledged last."]
    changed = [at for at, version in enumerate(history.versions) if not np.array_equal(session.annotation(case_id, at), version)]
    return [f"Version {at} is not what was drawn." for at in changed] + session.verify()


def noisy_edit(base: int) -> Edit:
    """Return an edit of the whole case that does not compress."""
    rng = np.random.default_rng(base)
    z, y, x = SHAPE
    values: Any = rng.choice(np.array([0, 1, 255], np.uint8), SHAPE)
    return Edit(((0, z), (0, y), (0, x)), rng.random(SHAPE) < 0.9, values, "fill", base)


@contextmanager
def filled(disk: Path, room: int = 0) -> Iterator[None]:
    """Leave `room` free bytes on the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while file.write(bytes(size)) == size:
                    continue
            except OSError:
                continue
        file.truncate(max(0, file.tell() - room))
    try:
        yield
    finally:
        ballast.unlink()
