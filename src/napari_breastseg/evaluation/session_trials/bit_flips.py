"""Random bit flips over all files of a session: found and named, never read as if nothing was, and mended where there is enough left."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.errors import BreastSegError
from napari_breastseg.evaluation.session_trials.material import random_edit, small_case, small_prediction, small_weights
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.session.disk.places import DATABASE

EDITS = 12
SNAPSHOTS = (4, 8)

FOUND, MEANINGLESS = "found", "in bytes that mean nothing"
MENDED, NOT_MENDED = "mended", "not mended, as is said"
SILENT = "silent"
UNNAMED = "found, but the file was not named"
READ = "found, but read as if nothing was"
MENDED_WRONGLY = "mended wrongly"
CRASHED = "errors that are not for people"
_BAD = (SILENT, UNNAMED, READ, MENDED_WRONGLY, CRASHED)

Answers = dict[str, object]


@dataclass(frozen=True)
class Example:
    """A closed session with one of everything."""

    folder: Path
    case_id: str
    sha: str


def example(folder: Path, weights: Path) -> Example:
    """Make one in `folder`; the file `weights` is written first."""
    rng = np.random.default_rng(0)
    with Session.create(folder) as session:
        case_id = session.add_case(small_case())
        for base in range(EDITS):
            seq = session.record(case_id, random_edit(rng, base))
            if seq in SNAPSHOTS:
                session.snapshot(case_id)
        session.undo(case_id)
        session.mark(case_id, "case-done", True)
        session.add_prediction(case_id, small_prediction(0))
        sha = session.add_model(small_weights(0, weights), {"preset": "p"})
        session.use_model(sha)
        session.add_round([case_id], None, sha, True, ["better"], {"dice": 0.5}, {case_id: EDITS + 1})
    return Example(folder, case_id, sha)


def answers(made: Example, folder: Path | None = None) -> Answers:
    """Return all that the session (or a copy of it in `folder`) says, by question; what it refuses to say is left out."""
    said: Answers = {}
    with suppress(BreastSegError), Session.open(folder or made.folder, read_only=True) as session:
        for question, ask in _questions(session, made).items():
            with suppress(BreastSegError):
                said[question] = ask()
    return said


def _questions(session: Session, made: Example) -> dict[str, Callable[[], object]]:
    case_id = made.case_id

    def version(at: int) -> Callable[[], bytes]:
        return lambda: session.annotation(case_id, at).tobytes()

    def prediction() -> Any:
        found = session.prediction(case_id)
        return found and (found.probability.tobytes(), found.coarse.tobytes(), found.refined.tobytes(), found.maps["doubt"].tobytes())

    return {
        "cases": lambda: session.cases,
        "images": lambda: np.asarray(session.case(case_id).images).tobytes(),
        "edits": lambda: session.edits(case_id),
        "annotation": lambda: session.annotation(case_id).tobytes(),
        "mask": lambda: session.mask(case_id).tobytes(),
        "marks": lambda: session.marks(case_id),
        "predictions": lambda: session.predictions(case_id),
        "prediction": prediction,
        "models": session.models,
        "current model": lambda: session.current_model,
        "weights": lambda: session.model_path(made.sha).read_bytes(),
        "rounds": session.rounds,
        **{f"version {at}": version(at) for at in range(EDITS + 2)},
    }


def problems_of(folder: Path) -> list[str]:
    """Return what `verify` finds in a session, or why it cannot be opened."""
    try:
        with Session.open(folder, read_only=True) as session:
            return session.verify()
    except BreastSegError as error:
        return [str(error)]


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def bit_flips(place: Path, count: int = 300) -> Job[Trial]:
    """Flip `count` bits one at a time, a third of them in the database; look whether each is noticed, and mend a copy."""
    made = example(place / "flipped", place / "weights.safetensors")
    truth = answers(made)
    rng = np.random.default_rng()
    files = [path for path in sorted(made.folder.rglob("*")) if path.is_file() and path.stat().st_size]
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    for number in range(count):
        yield Progress(number, count, "Flipping bits")
        path = made.folder / DATABASE if number % 3 == 0 else files[int(rng.integers(len(files)))]
        whole = path.read_bytes()
        bit = int(rng.integers(len(whole) * 8))
        flip(path, bit)
        name = path.relative_to(made.folder).as_posix()
        try:
            found = outcomes_of(made, name, truth, place / "mended")
        except Exception as error:  # every other error has told nobody what to do
            found = [CRASHED]
            problems.append(f"Bit {bit} of {name}: {error!r}")
        outcomes.update(found)
        problems += [f"Bit {bit} of {name}: {outcome}." for outcome in found if outcome in _BAD]
        path.write_bytes(whole)
    aims = (Aim(FOUND, outcomes[FOUND], count // 4, at_least=True), *(Aim(outcome, outcomes[outcome]) for outcome in _BAD))
    return Trial("bit-flips", aims, {"flips": count, **outcomes}, tuple(problems))


def outcomes_of(made: Example, damaged: str, truth: Answers, copy: Path) -> list[str]:
    """Say what becomes of a flip in the file `damaged` of a session that said the `truth` before; it is mended in `copy`."""
    found, said = problems_of(made.folder), answers(made)
    if not found:
        return [MEANINGLESS if said == truth else SILENT]
    outcomes = [FOUND]
    if damaged != DATABASE and not any(damaged in sentence for sentence in found):  # a sentence on the database names the row
        outcomes.append(UNNAMED)
    if not _agree(said, truth):
        outcomes.append(READ)
    shutil.copytree(made.folder, copy)
    try:
        return [*outcomes, _mended(made, truth, copy)]
    finally:
        shutil.rmtree(copy)


def _mended(made: Example, truth: Answers, copy: Path) -> str:
    """Repair the copy; what it says then must be the truth, and all of it unless `verify` still finds something."""
    try:
        with Session.open(copy) as session:
            session.repair()
            left = session.verify()
    except BreastSegError:
        return NOT_MENDED
    said = answers(made, copy)
    if said == truth and not left:
        return MENDED
    return NOT_MENDED if left and _agree(said, truth) else MENDED_WRONGLY


def _agree(said: Answers, truth: Answers) -> bool:
    return all(said[question] == truth[question] for question in said)
