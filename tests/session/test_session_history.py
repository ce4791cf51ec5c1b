"""Random histories equal a plain array that keeps every version."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import StaleEditError
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.session import Session, snapshots

from .helpers import SHAPE, make_case


def step(session: Session, case_id: str, history: History, rng: np.random.Generator) -> None:
    seq = history.seq
    match rng.choice(["record", "undo", "redo", "snapshot"], p=[0.4, 0.33, 0.22, 0.05]):
        case "record":
            edit = random_edit(rng, seq)
            history.record(edit)
            assert session.record(case_id, edit) == seq + 1
        case "undo":
            assert (session.undo(case_id) is not None) == history.undo()
        case "redo":
            assert (session.redo(case_id) is not None) == history.redo()
        case _:
            assert session.snapshot(case_id) == seq
    assert session.seq(case_id) == history.seq


@pytest.mark.parametrize("seed", range(6))
def test_random_edits_undos_redos_and_reopenings_equal_the_history(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 7)
    rng = np.random.default_rng(seed)
    session = Session.create(folder)
    ids = [session.add_case(make_case(n, phases=1)) for n in range(2)]
    histories = {case_id: History(SHAPE) for case_id in ids}
    for _ in range(120):
        if rng.random() < 0.06:
            session.close()
            session = Session.open(folder)
        case_id = ids[int(rng.integers(2))]
        step(session, case_id, histories[case_id], rng)
        np.testing.assert_array_equal(session.annotation(case_id), histories[case_id].versions[-1])
    for case_id, history in histories.items():
        for at in rng.permutation(len(history.versions)):
            np.testing.assert_array_equal(session.annotation(case_id, int(at)), history.versions[at])
    assert session.verify() == []
    session.close()


def test_a_change_names_the_box_the_seq_and_the_edit(session: Session, case_id: str) -> None:
    edit = random_edit(np.random.default_rng(0), 0)
    session.record(case_id, edit)
    undone, redone = session.undo(case_id), session.redo(case_id)
    assert undone is not None and redone is not None
    assert (undone.seq, undone.undoes, undone.box) == (2, 1, edit.box)
    assert (redone.seq, redone.undoes, redone.box) == (3, 2, edit.box)
    assert [(row.tool, row.undoes) for row in session.edits(case_id)] == [("brush", None), ("undo", 1), ("redo", 2)]


def test_snapshots_come_by_themselves_and_are_used(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        for base in range(120):
            session.record(case_id, random_edit(rng, base))
        expected = session.annotation(case_id)
    names = sorted(path.name for path in (folder / "labels" / case_id).iterdir())
    assert "50.zarr" in names
    with Session.open(folder) as session:
        np.testing.assert_array_equal(session.annotation(case_id), expected)


def test_strokes_never_wait_for_snapshots_nor_pile_them_up(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 5)
    started, go_on = threading.Event(), threading.Event()

    def slow(self: snapshots.Snapshots, case_id: str, seq: int, labels: np.ndarray) -> None:
        written.append(seq)
        started.set()
        assert go_on.wait(20)

    written: list[int] = []
    monkeypatch.setattr(snapshots.Snapshots, "write", slow)
    rng = np.random.default_rng(0)
    for base in range(30):
        session.record(case_id, random_edit(rng, base))
    assert started.wait(20)
    assert written == [5]
    go_on.set()


def test_threads_may_share_a_session(session: Session) -> None:
    ids = [session.add_case(make_case(n)) for n in range(3)]
    failures: list[BaseException] = []

    def paint(case_id: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(25):
                while True:
                    try:
                        session.record(case_id, random_edit(rng, session.seq(case_id)))
                        break
                    except StaleEditError:
                        continue
                session.mask(case_id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=paint, args=(ids[n % 3], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [session.seq(case_id) for case_id in ids] == [50, 50, 50]
    assert session.verify() == []


def test_two_writers_by_force_never_damage_an_edit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even without the lock, an edit that was made on another state than the journal's is refused."""
    monkeypatch.setattr("napari_breastseg.session.disk.lock._try_lock", lambda descriptor: True)
    one = Session.create(folder)
    case_id = one.add_case(make_case())
    two = Session.open(folder)
    rng = np.random.default_rng(0)
    history, refused = History(SHAPE), 0
    for n in range(80):
        session, other = (one, two) if n % 2 else (two, one)
        base = session.seq(case_id) - (1 if n % 5 == 0 else 0)
        edit = random_edit(rng, base)
        try:
            session.record(case_id, edit)
            history.record(edit)
        except StaleEditError:
            refused += 1
        np.testing.assert_array_equal(other.annotation(case_id), history.labels)
    assert refused == 16
    assert one.verify() == []
    two.close()
    one.close()
