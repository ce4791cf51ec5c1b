"""The process that works on a session in every way at once until it is killed, and says what was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from napari_breastseg.evaluation.session_trials.history import History, take
from napari_breastseg.evaluation.session_trials.material import SHAPE, follow_script, scripted_step, small_prediction, small_weights
from napari_breastseg.evaluation.session_trials.processes import start
from napari_breastseg.session import Session, snapshots

Say = Callable[..., None]
OFTEN = 9
"""Edits between two snapshots, so that one is nearly always being written."""
LONGEST = 60.0
"""Seconds that a writer gets to do everything once."""


@dataclass
class Acknowledged:
    """What a writer was told to be durable, and what it complained of."""

    seq: int = 0
    snapshots: int = 0
    predictions: list[int] = field(default_factory=list)
    rounds: dict[int, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def one_of_each(self) -> bool:
        """Whether everything that a writer does was acknowledged once, or it complained."""
        return bool(self.seq and self.snapshots and self.predictions and self.rounds) or bool(self.complaints)

    def hear_all(self, reports: Iterable[tuple[Any, ...]]) -> None:
        """Take in the reports of a writer."""
        for report in reports:
            self._hear(*report)

    def _hear(self, kind: str, number: Any, sha: str = "") -> None:
        match kind:
            case "edit":
                self.seq = number
            case "snapshot":
                self.snapshots += 1
            case "prediction":
                self.predictions.append(number)
            case "round":
                self.rounds[number] = sha
            case "complaint":
                self.complaints.append(number)


def run_until_killed(folder: Path, case_id: str, seconds: float, one_of_each: bool = False) -> Acknowledged:
    """Have a writer open the session and work on it, kill it after `seconds`, and return what had been acknowledged by then.

    With `one_of_each` the seconds begin when an edit, a prediction, a round and a snapshot have been acknowledged, however slow the disk.
    """
    running = start(write, folder, case_id)
    running.pipe.recv()
    acknowledged = Acknowledged()
    end = time.monotonic() + LONGEST
    while one_of_each and not acknowledged.one_of_each and time.monotonic() < end:
        acknowledged.hear_all(running.said_within(0.01))
    acknowledged.hear_all(running.said_within(seconds))
    acknowledged.hear_all(running.kill())
    return acknowledged


def write(folder: Path, case_id: str, reports: Connection) -> None:
    """Open the session and stroke, predict, learn, snapshot, compact and verify in threads, each without a pause."""
    reports.send("begun")
    snapshots.EVERY = OFTEN
    speaking = threading.Lock()

    def say(*report: object) -> None:
        with speaking:
            reports.send(report)

    def work(how: Callable[[Session, str, Say], None]) -> None:
        try:
            how(session, case_id, say)
        except Exception as error:  # nothing that a person does may fail, in words or not
            say("complaint", f"{how.__name__}: {error!r}")

    with Session.open(folder) as session:
        threads = [threading.Thread(target=work, args=(how,)) for how in (_stroke, _predict, _learn, _tidy)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _stroke(session: Session, case_id: str, say: Say) -> None:
    history = History(SHAPE)
    follow_script(history, session.seq(case_id))
    while True:
        step = scripted_step(history)
        say("edit", take(session, case_id, step))
        history.take(step)


def _predict(session: Session, case_id: str, say: Say) -> None:
    while True:
        number = len(session.predictions(case_id)) + 1
        say("prediction", session.add_prediction(case_id, small_prediction(number)))


def _learn(session: Session, case_id: str, say: Say) -> None:
    while True:
        number = len(session.rounds()) + 1
        weights = small_weights(number, session.path.with_name("candidate.safetensors"))
        sha = session.add_model(weights, {"round": number})
        session.add_round([case_id], session.current_model, sha, True, ["better"], {}, {case_id: session.seq(case_id)})
        say("round", number, sha)


def _tidy(session: Session, case_id: str, say: Say) -> None:
    while True:
        for _ in range(4):
            say("snapshot", session.snapshot(case_id))
            time.sleep(0.02)
        session.compact()
        for problem in session.verify():
            say("complaint", problem)
