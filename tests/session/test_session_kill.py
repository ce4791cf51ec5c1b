"""Killed, a session tells the next opener what happened; the kills in numbers are in tests/evaluation/session_trials."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import SessionLockedError
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import SHAPE, random_edit
from napari_breastseg.evaluation.session_trials.remote import opened_remotely
from napari_breastseg.session import EventRow, Session

from .helpers import make_case

STROKES = 12


@pytest.fixture
def prepared(folder: Path) -> tuple[Path, str]:
    with Session.create(folder) as session:
        return folder, session.add_case(make_case(phases=1))


def killed_after_strokes(folder: Path, case_id: str) -> History:
    history = History(SHAPE)
    with opened_remotely(folder) as session:
        for base in range(STROKES):
            edit = random_edit(np.random.default_rng(base), base)
            session.call("record", case_id, edit)
            history.record(edit)
    return history


def recoveries(session: Session) -> list[EventRow]:
    return [event for event in session.events() if event.kind == "recovered"]


def test_a_second_opener_is_told_who_writes_and_takes_over_after_a_crash(prepared: tuple[Path, str]) -> None:
    folder, case_id = prepared
    with opened_remotely(folder) as writer:
        with pytest.raises(SessionLockedError, match=rf"process {writer.pid} on .* .since"):
            Session.open(folder)
        with Session.open(folder, read_only=True) as reader:
            assert reader.cases == [case_id]
    with Session.open(folder) as session:
        (event,) = recoveries(session)
        assert event.details["from"]["pid"] == writer.pid
        with pytest.raises(SessionLockedError, match=str(os.getpid())):
            Session.open(folder)
    with Session.open(folder) as session:
        assert recoveries(session) == [event]


def test_a_killed_session_can_be_read_before_anyone_repairs_it(prepared: tuple[Path, str]) -> None:
    folder, case_id = prepared
    history = killed_after_strokes(folder, case_id)
    with Session.open(folder, read_only=True) as reader:
        assert reader.seq(case_id) == STROKES
        np.testing.assert_array_equal(reader.annotation(case_id), history.labels)


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_the_log_of_a_crash_is_told_and_the_files_are_kept(prepared: tuple[Path, str], seed: int) -> None:
    folder, case_id = prepared
    history = killed_after_strokes(folder, case_id)
    log = folder / "session.sqlite-wal"
    as_found = bytearray(log.read_bytes())
    bit = int(np.random.default_rng(seed).integers(8 * len(as_found) // 2))
    as_found[bit // 8] ^= 1 << bit % 8
    log.write_bytes(as_found)
    with Session.open(folder) as session:
        assert session.seq(case_id) < STROKES
        np.testing.assert_array_equal(session.annotation(case_id), history.versions[session.seq(case_id)])
        assert "damaged on the disk after a crash" in " ".join(session.verify())
    (kept,) = (folder / "damaged").iterdir()
    assert (kept / "session.sqlite-wal").read_bytes() == bytes(as_found)
