"""Killed at any moment, a session opens again and holds everything that it acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import SessionLockedError
from napari_breastseg.session import Session

from .helpers import Oracle, make_case, make_prediction

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 is a POSIX matter")
TESTS = Path(__file__).parents[1]


def start(how: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-m", "session.writer", how, str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill(child: subprocess.Popen[str], after: float, lines: int = 0) -> list[str]:
    """Kill the child some seconds after it has said some `lines`, and return all that it had said."""
    assert child.stdout is not None
    said = "".join(child.stdout.readline() for _ in range(lines))
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read()
    child.wait()
    return said[: said.rfind("\n") + 1].splitlines()


@contextmanager
def killed(how: str, folder: Path, after: float) -> Iterator[tuple[Session, list[str]]]:
    said = kill(start(how, folder), after)
    with Session.open(folder) as session:
        assert not [path for path in folder.rglob(".tmp-*")]
        yield session, said
        assert session.verify() == []


@pytest.fixture
def prepared(folder: Path) -> tuple[Path, str]:
    with Session.create(folder) as session:
        return folder, session.add_case(make_case(phases=1))


@pytest.mark.parametrize("kills", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_no_acknowledged_stroke_is_lost_or_torn(prepared: tuple[Path, str], kills: int) -> None:
    folder, case_id = prepared
    rng = np.random.default_rng()
    oracle = Oracle()
    for _ in range(kills):
        with killed("paint", folder, rng.uniform(0, 0.4)) as (session, said):
            acknowledged = int(said[-1]) if said else len(oracle.versions) - 1
            seq = session.seq(case_id)
            assert acknowledged <= seq <= acknowledged + 1
            oracle.follow(seq)
            np.testing.assert_array_equal(session.annotation(case_id), oracle.versions[seq])
            for at in rng.integers(0, seq + 1, 5):
                np.testing.assert_array_equal(session.annotation(case_id, int(at)), oracle.versions[at])
            assert session.events()[-1].kind == "recovered"
    assert len(oracle.versions) > kills


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_prediction_is_there_whole_or_not_at_all(prepared: tuple[Path, str], kills: int) -> None:
    folder, case_id = prepared
    rng = np.random.default_rng()
    for _ in range(kills):
        with killed("predict", folder, rng.uniform(0, 0.5)) as (session, said):
            rows = session.predictions(case_id)
            assert len(rows) >= max(map(int, said), default=0)
            for row in rows:
                prediction = session.prediction(case_id, row.id)
                assert prediction is not None
                np.testing.assert_array_equal(prediction.probability, make_prediction(row.id - 1).probability)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_learning_round_and_its_model_come_together(prepared: tuple[Path, str], kills: int) -> None:
    folder, _ = prepared
    rng = np.random.default_rng()
    for _ in range(kills):
        with killed("learn", folder, rng.uniform(0, 0.3)) as (session, said):
            rounds = session.rounds()
            if said:
                number, sha = said[-1].split()
                assert rounds[int(number) - 1].candidate == sha
            if rounds:
                assert session.current_model == rounds[-1].candidate
                assert session.model_path(rounds[-1].candidate or "").is_file()


def test_a_second_opener_is_told_who_writes_and_takes_over_after_a_crash(prepared: tuple[Path, str]) -> None:
    folder, case_id = prepared
    child = start("wait", folder)
    with pytest.raises(SessionLockedError, match=rf"process {child.pid} on .* .since"):
        Session.open(folder)
    with Session.open(folder, read_only=True) as reader:
        assert reader.cases == [case_id]
    kill(child, 0)
    with Session.open(folder) as session:
        (event,) = session.events()
        assert (event.kind, event.details["from"]["pid"]) == ("recovered", child.pid)
        with pytest.raises(SessionLockedError, match=str(os.getpid())):
            Session.open(folder)
    with Session.open(folder) as session:
        assert len(session.events()) == 1


def test_a_killed_session_can_be_read_before_anyone_repairs_it(prepared: tuple[Path, str]) -> None:
    folder, case_id = prepared
    said = kill(start("paint", folder), 0.1, lines=3)
    with Session.open(folder, read_only=True) as reader:
        assert reader.seq(case_id) >= int(said[-1])
        oracle = Oracle()
        oracle.follow(reader.seq(case_id))
        np.testing.assert_array_equal(reader.annotation(case_id), oracle.versions[-1])


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_the_log_of_a_crash_is_told_and_the_files_are_kept(prepared: tuple[Path, str], seed: int) -> None:
    folder, case_id = prepared
    said = kill(start("paint", folder), 0, lines=12)
    log = folder / "session.sqlite-wal"
    as_found = bytearray(log.read_bytes())
    bit = int(np.random.default_rng(seed).integers(8 * len(as_found) // 2))
    as_found[bit // 8] ^= 1 << bit % 8
    log.write_bytes(as_found)
    with Session.open(folder) as session:
        oracle = Oracle()
        oracle.follow(session.seq(case_id))
        assert session.seq(case_id) < int(said[-1])
        np.testing.assert_array_equal(session.annotation(case_id), oracle.versions[-1])
        assert "damaged on the disk after a crash" in " ".join(session.verify())
    (kept,) = (folder / "damaged").iterdir()
    assert (kept / "session.sqlite-wal").read_bytes() == bytes(as_found)
