"""kill -9 at random moments while strokes, predictions, learning, snapshots and compacting run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np

from napari_breastseg.evaluation.session_trials.audit import Audit
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import SHAPE, small_case
from napari_breastseg.evaluation.session_trials.trial import Trial
from napari_breastseg.evaluation.session_trials.writer import run_until_killed
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

KILLS_PER_SESSION = 20
"""A new session is begun after so many, since everything that it ever held is verified after each."""


def kills(place: Path, count: int = 200) -> Job[Trial]:
    """Kill a writer `count` times in sessions within the folder `place`, and reopen and compare after each.

    How soon the kills come is measured on the disk: within the time that a writer needs to do everything once.
    """
    rng = np.random.default_rng()
    audit = Audit()
    folder = place / "killed"
    for number in range(count):
        yield Progress(number, count, "Killing at random moments")
        if number % KILLS_PER_SESSION == 0:
            shutil.rmtree(folder, ignore_errors=True)
            history = History(SHAPE)
            with Session.create(folder) as session:
                case_id = session.add_case(small_case())
            began = time.perf_counter()
            told = run_until_killed(folder, case_id, 0, one_of_each=True)
            latest = time.perf_counter() - began
        else:
            told = run_until_killed(folder, case_id, rng.uniform(0, latest))
        audit.reopen(folder, case_id, told, history, rng)
    figures = {
        "kills": count,
        "edits_acknowledged": audit.edits,
        "predictions_acknowledged": audit.predictions,
        "rounds_acknowledged": audit.rounds,
        "snapshots_acknowledged": audit.snapshots,
        "slowest_opening_s": audit.slowest_s,
    }
    return Trial("kills", audit.aims(), figures, audit.problems())
