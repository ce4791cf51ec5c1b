"""Random bit flips over all files of a session: found and named, never silent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_breastseg.errors import BreastSegError
from napari_breastseg.evaluation.session_trials.material import random_edit, small_case, small_prediction, small_weights
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.session.places import DATABASE

EDITS = 12
SNAPSHOTS = (4, 8)


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


def everything(folder: Path, case_id: str) -> list[bytes | str]:
    """Return all that a session says, as comparable values."""
    with Session.open(folder, read_only=True) as session:
        prediction = session.prediction(case_id)
        if prediction is None or session.current_model is None:
            return []
        said: list[bytes | str] = [session.annotation(case_id, at).tobytes() for at in range(session.seq(case_id) + 1)]
        said += [np.asarray(session.case(case_id).images).tobytes(), prediction.probability.tobytes(), prediction.refined.tobytes()]
        said += [repr(session.cases), repr(session.edits(case_id)), repr(session.marks(case_id)), repr(session.models())]
        said += [repr(session.rounds()), repr(session.predictions(case_id)), repr(session.current_model)]
        said.append(session.model_path(session.current_model).read_bytes())
        return said


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
    """Flip `count` bits, one at a time, each third in the database, and look whether each is noticed."""
    made = example(place / "flipped", place / "weights.safetensors")
    truth = everything(made.folder, made.case_id)
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
        for outcome in _outcomes(made, path, truth):
            outcomes[outcome] += 1
            if outcome in _BAD:
                problems.append(f"Bit {bit} of {path.relative_to(made.folder).as_posix()}: {outcome}.")
        path.write_bytes(whole)
    aims = (
        Aim(_FOUND, outcomes[_FOUND], count // 4, at_least=True),
        *(Aim(outcome, outcomes[outcome]) for outcome in _BAD),
    )
    return Trial("bit-flips", aims, {"flips": count, **outcomes}, tuple(problems))


_FOUND, _MEANINGLESS = "found", "in bytes that mean nothing"
_SILENT, _UNNAMED = "silent", "found, but the file was not named"
_BAD = (_SILENT, _UNNAMED)


def _outcomes(made: Example, path: Path, truth: list[bytes | str]) -> list[str]:
    """Say what became of one flip."""
    found = problems_of(made.folder)
    if not found:
        return [_MEANINGLESS if everything(made.folder, made.case_id) == truth else _SILENT]
    name = path.relative_to(made.folder).as_posix()
    # a sentence on the database names the row or the entry in it
    named = name == DATABASE or any(name in sentence for sentence in found)
    return [_FOUND, *([] if named else [_UNNAMED])]
