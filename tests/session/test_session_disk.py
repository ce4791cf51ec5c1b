"""A full disk refuses in words, leaves the earlier state as it was, and work goes on when there is space again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.errors import SessionError
from napari_breastseg.session import Edit, Session

from .helpers import SHAPE, Oracle, make_case, make_edit, make_prediction

linux_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small file system needs Linux and root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def noisy_edit(base: int) -> Edit:
    """An edit that does not compress."""
    rng = np.random.default_rng(base)
    box = tuple((0, n) for n in SHAPE)
    return Edit(box, rng.random(SHAPE) < 0.9, rng.choice(np.array([0, 1, 255], np.uint8), SHAPE), "fill", base)  # type: ignore[arg-type]


@linux_root
@pytest.mark.parametrize("room", range(3))
def test_edits_on_a_full_disk_are_refused_and_go_on_later(small_disk: Path, room: int) -> None:
    oracle = Oracle()
    with Session.create(small_disk / "session") as session:
        case_id = session.add_case(make_case())
        (small_disk / "ballast").write_bytes(bytes(200_000 + 1024 * room))
        refused: SessionError | None = None
        while refused is None:
            edit = noisy_edit(len(oracle.versions) - 1)
            try:
                session.record(case_id, edit)
                oracle.record(edit)
            except SessionError as error:
                refused = error
        assert "the disk is full" in str(refused)
        assert len(oracle.versions) > 3
        np.testing.assert_array_equal(session.annotation(case_id), oracle.versions[-1])
        (small_disk / "ballast").unlink()
        session.record(case_id, edit)
        oracle.record(edit)
    with Session.open(small_disk / "session") as session:
        for at, version in enumerate(oracle.versions):
            np.testing.assert_array_equal(session.annotation(case_id, at), version)
        assert session.verify() == []


@linux_root
@pytest.mark.parametrize("what", ["prediction", "case", "model", "snapshot", "session"])
def test_everything_else_on_a_full_disk_is_refused_too(small_disk: Path, what: str, weights: Callable[[int], Path]) -> None:
    folder = small_disk / "session"
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        session.record(case_id, make_edit(np.random.default_rng(0), 0))
        before = sorted(path for path in folder.rglob("*"))
        actions: dict[str, Callable[[], object]] = {
            "prediction": lambda: session.add_prediction(case_id, make_prediction()),
            "case": lambda: session.add_case(make_case(1)),
            "model": lambda: session.add_model(weights(0), {}),
            "snapshot": lambda: session.snapshot(case_id),
            "session": lambda: Session.create(small_disk / "another"),
        }
        with filled(small_disk), pytest.raises(SessionError, match="the disk is full"):
            actions[what]()
        after = sorted(path for path in folder.rglob("*"))
        assert {path.name for path in set(after) - set(before)} <= {"predictions", "models", "labels", case_id}
        assert session.verify() == []
        result = actions[what]()
        if isinstance(result, Session):
            result.close()
        assert session.verify() == []


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no free byte on the disk."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (65536, 512):
            try:
                while ballast.write(bytes(size)) == size:
                    continue
            except OSError:
                continue
    yield
    (disk / "ballast").unlink()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_limit_on_the_size_of_files_is_told_in_words_too(session: Session, case_id: str) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(SessionError, match="could not be saved"):
            for base in range(50):
                session.record(case_id, noisy_edit(base))
        with pytest.raises(SessionError, match="could not be saved"):
            session.add_prediction(case_id, make_prediction())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    seq = session.seq(case_id)
    oracle = Oracle()
    for base in range(seq):
        oracle.record(noisy_edit(base))
    np.testing.assert_array_equal(session.annotation(case_id), oracle.versions[-1])
    session.record(case_id, noisy_edit(seq))
    assert session.verify() == []


def test_a_source_that_fails_halfway_leaves_no_case(session: Session) -> None:
    class Broken:
        shape, dtype = (2, 4, 5, 6), np.dtype(np.float32)
        reads = 0

        def __getitem__(self, index: int) -> np.ndarray:
            self.reads += 1
            if self.reads > 3:
                raise OSError(5, "Input/output error")
            return np.full((4, 5, 6), index, np.float32)

    good = make_case()
    with pytest.raises(SessionError, match="Input/output"):
        session.add_case(Case("broken", Broken(), good.geometry))
    assert session.cases == []
    assert list((session.path / "cases").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="counts system calls with strace")
def test_every_acknowledged_edit_was_flushed_and_no_rename_comes_before_its_flush(tmp_path: Path) -> None:
    script = (
        "import sys; from session.helpers import *; from napari_breastseg.session import Session\n"
        "s = Session.create(sys.argv[1]); c = s.add_case(make_case()); rng = np.random.default_rng(0)\n"
        "for base in range(10):\n    s.record(c, make_edit(rng, base)); print('acknowledged', base, flush=True)\n"
        "s.add_prediction(c, make_prediction())\n"
    )
    log = tmp_path / "log"
    calls = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2"
    command = ["strace", "-f", "-y", "-s", "64", "-e", calls, "-o", str(log), sys.executable, "-c", script, str(tmp_path / "session")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if "ptrace" in ran.stderr:
        pytest.skip("strace is not allowed here")
    assert ran.returncode == 0, ran.stderr
    check_order(log.read_text().splitlines())


def check_order(lines: list[str]) -> None:
    """Follow the system calls: what is not flushed yet when an edit is acknowledged or a folder gets its final name is a broken promise."""
    unflushed: set[str] = set()
    acknowledged = renamed = 0
    for line in lines:
        path = line.split("<", 1)[1].split(">", 1)[0] if "<" in line else ""
        if "write" in line and '"acknowledged' in line:
            acknowledged += 1
            assert not [name for name in unflushed if name.endswith("-wal")], line
        elif " write(" in line or " pwrite64(" in line:
            if not path.endswith(".partial"):
                unflushed.add(path)
        elif "sync(" in line:
            unflushed.discard(path)
        elif " rename" in line and ".partial" in line:
            unflushed.add(line.split('"')[3])
        elif " rename" in line and ".tmp-" in line:
            renamed += 1
            source = line.split('"')[1]
            assert not [name for name in unflushed if name.startswith(source)], line
    assert acknowledged == 10
    assert renamed >= 3
