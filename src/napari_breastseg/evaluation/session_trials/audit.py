"""Reopen a session that was cut off and compare it with what it had acknowledged before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import follow_script, small_prediction
from napari_breastseg.evaluation.session_trials.trial import Aim
from napari_breastseg.evaluation.session_trials.writer import Acknowledged
from napari_breastseg.session import Session
from napari_breastseg.session.disk.durable import TEMPORARY

EARLIER = 5
"""How many earlier versions are compared each time, chosen at random."""


@dataclass
class Audit:
    """What was acknowledged in all, and sentences on what of it was not there, not whole, or could not be opened."""

    edits: int = 0
    predictions: int = 0
    rounds: int = 0
    snapshots: int = 0
    slowest_s: float = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    unopened: list[str] = field(default_factory=list)

    def reopen(self, folder: Path, case_id: str, told: Acknowledged, history: History, rng: np.random.Generator) -> None:
        """Open the session in `folder` and compare it with what its writer was `told`; `history` is brought up to where it stands."""
        self.edits += max(0, told.seq - history.seq)
        self.predictions += len(told.predictions)
        self.rounds += len(told.rounds)
        self.snapshots += told.snapshots
        began = time.perf_counter()
        try:
            session = Session.open(folder)
        except Exception as error:  # whatever stops a session from opening counts, in words or not
            self.unopened.append(repr(error))
            return
        with session:
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
            try:
                self._compare(session, case_id, told, history, rng)
            except Exception as error:  # a session that cannot say what it holds is torn
                self.torn.append(repr(error))

    def aims(self) -> tuple[Aim, ...]:
        """Return what every trial that cuts a session off must show; without anything acknowledged it has shown nothing."""
        return (
            Aim("edits acknowledged", self.edits, 1, at_least=True),
            Aim("predictions acknowledged", self.predictions, 1, at_least=True),
            Aim("rounds acknowledged", self.rounds, 1, at_least=True),
            Aim("acknowledged, but lost", len(self.lost)),
            Aim("torn states", len(self.torn)),
            Aim("sessions that failed to open", len(self.unopened)),
        )

    def problems(self) -> tuple[str, ...]:
        """Return all that went wrong."""
        return (*(f"{what} was acknowledged and is not there." for what in self.lost), *self.torn, *self.unopened)

    def _compare(self, session: Session, case_id: str, told: Acknowledged, history: History, rng: np.random.Generator) -> None:
        self.torn += told.complaints + session.verify()
        self.torn += [f"{path.name} was left behind." for path in session.path.rglob(f"{TEMPORARY}*")]
        acknowledged, seq = max(history.seq, told.seq), session.seq(case_id)
        self.lost += [f"Edit {n}" for n in range(seq + 1, acknowledged + 1)]
        if seq > acknowledged + 1:
            self.torn.append(f"The annotation stands at {seq}, but {acknowledged} was acknowledged last.")
        follow_script(history, seq)
        self._versions(session, case_id, history, [seq, *map(int, rng.integers(0, seq + 1, EARLIER))])
        self._predictions(session, case_id, told.predictions)
        self._rounds(session, told.rounds)

    def _versions(self, session: Session, case_id: str, history: History, seqs: Iterable[int]) -> None:
        for at in seqs:
            if not np.array_equal(session.annotation(case_id, at), history.versions[at]):
                self.torn.append(f"Version {at} of the annotation is not what was drawn.")

    def _predictions(self, session: Session, case_id: str, acknowledged: list[int]) -> None:
        there = {row.id for row in session.predictions(case_id)}
        self.lost += [f"Prediction {number}" for number in acknowledged if number not in there]
        for number in there & {*acknowledged, max(there, default=0)}:
            prediction = session.prediction(case_id, number)
            if prediction is None or not np.array_equal(prediction.probability, small_prediction(number).probability):
                self.torn.append(f"Prediction {number} is not what was predicted.")

    def _rounds(self, session: Session, acknowledged: dict[int, str]) -> None:
        candidates = {row.id: row.candidate for row in session.rounds()}
        self.lost += [f"Round {number}" for number, sha in acknowledged.items() if candidates.get(number) != sha]
        if candidates and session.current_model != candidates[max(candidates)]:
            self.torn.append("The current model is not the one that the last round adopted.")
        if session.current_model is not None:
            session.model_path(session.current_model)
