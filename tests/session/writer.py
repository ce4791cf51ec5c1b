"""A process that works on a session until it is killed and says what was acknowledged: ``python -m session.writer HOW FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from napari_breastseg.session import Edit, Session, snapshots

from .helpers import Oracle, make_prediction


def say(what: object) -> None:
    print(what, flush=True)


def paint(session: Session, case_id: str) -> None:
    oracle = Oracle()
    oracle.follow(session.seq(case_id))
    while True:
        what = oracle.next()
        if isinstance(what, Edit):
            seq = session.record(case_id, what)
        else:
            change = getattr(session, what)(case_id)
            seq = change.seq
        say(seq)
        oracle.follow(seq)


def predict(session: Session, case_id: str) -> None:
    while True:
        number = len(session.predictions(case_id))
        say(session.add_prediction(case_id, make_prediction(number)))


def learn(session: Session, case_id: str) -> None:
    weights = session.path.parent / "candidate.safetensors"
    while True:
        number = len(session.rounds()) + 1
        save_file({"layer": np.full((64, 64), number, np.float32)}, weights)
        sha = session.add_model(weights, {"round": number})
        session.add_round([case_id], session.current_model, sha, True, ["better"], {}, {case_id: number})
        say(f"{number} {sha}")


def main() -> None:
    snapshots.EVERY = 9
    how = {"paint": paint, "predict": predict, "learn": learn, "wait": lambda session, case_id: sys.stdin.read()}[sys.argv[1]]
    with Session.open(Path(sys.argv[2])) as session:
        say("ready")
        how(session, session.cases[0])


if __name__ == "__main__":
    main()
