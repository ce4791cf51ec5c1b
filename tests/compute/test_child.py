from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.compute import child, in_child
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.progress import Progress, run

HERE = Path(__file__).parent


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_result_and_progress_cross_the_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    assert run(in_child("child_targets:add", {"a": 2, "b": 3}), seen.append) == 5
    assert [p.message for p in seen if p.message in ("adding", "added")] == ["adding", "added"]
    payload = next(p.payload for p in seen if p.message == "adding")
    np.testing.assert_array_equal(payload, [0, 1, 2])
    assert capfd.readouterr().out == ""


def test_arrays_bigger_than_the_pipe_come_back_whole() -> None:
    result = run(in_child("child_targets:array", {"n": 5_000_000}))
    assert result.shape == (5_000_000,) and (result == 7).all()


def test_it_is_another_process_of_low_priority() -> None:
    pid, niceness = run(in_child("child_targets:facts", {}))
    assert pid != os.getpid()
    assert niceness >= min(19, os.nice(0) + 10)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_a_child_starts_is_not_for_the_child() -> None:
    """It would print a traceback while it imports; a terminal sends Ctrl-C to every process of its group."""
    job = in_child("child_targets:add", {"a": 2, "b": 3}, name="addition")
    next(job)

    def children() -> list[int]:
        return [p.pid for p in multiprocessing.active_children() if p.name == "napari-breastseg addition" and p.pid]

    pressed: list[int] = []

    def press() -> None:
        until(lambda: bool(children()))
        for pid in children() * 20:
            if not is_running(pid):
                return  # it has done its work already
            os.kill(pid, signal.SIGINT)
            pressed.append(pid)
            time.sleep(0.01)

    pressing = threading.Thread(target=press)
    pressing.start()
    assert run(job) == 5
    pressing.join()
    assert pressed


def test_an_error_for_people_keeps_its_type_and_text() -> None:
    with pytest.raises(InputError, match=r"^The mask is empty\. Paint first\.$"):
        run(in_child("child_targets:refuse", {}))


def test_a_bug_becomes_one_sentence_and_the_log_a_note() -> None:
    with pytest.raises(ComputeError, match="The learning process failed: ZeroDivisionError: a bug in the child") as caught:
        run(in_child("child_targets:fail", {}, name="learning"))
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.__notes__[0]


@pytest.mark.parametrize(("target", "text"), [("hungry", "not enough memory"), ("killed", "lack of memory"), ("crashed", "SIGSEGV")])
def test_a_death_is_explained(target: str, text: str) -> None:
    with pytest.raises(ComputeError, match=text):
        run(in_child(f"child_targets:{target}", {}))


def test_closing_stops_the_child_which_tidies_up(tmp_path: Path) -> None:
    job = in_child("child_targets:wait_and_tidy", {"folder": str(tmp_path)})
    while next(job).message != "waiting":
        pass
    pid = int((tmp_path / "pid").read_text())
    job.close()
    assert not is_running(pid)
    assert (tmp_path / "tidy").exists()


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.3)
    job = in_child("child_targets:wait_and_tidy", {"folder": str(tmp_path), "stubborn": True})
    while next(job).message != "waiting":
        pass
    job.close()
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_silent_child_can_still_be_cancelled(tmp_path: Path) -> None:
    job = in_child("child_targets:wait_and_tidy", {"folder": str(tmp_path)})
    messages = [next(job).message for _ in range(2)]
    start = time.monotonic()
    while messages.count("waiting") < 3:  # repeated although the child says nothing more
        messages.append(next(job).message)
    assert time.monotonic() - start < 30
    job.close()


def test_closing_before_the_start_starts_nothing() -> None:
    job = in_child("child_targets:add", {"a": 1, "b": 1})
    next(job)
    job.close()
    assert multiprocessing.active_children() == []


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "from napari_breastseg.compute import in_child\n"
        "if __name__ == '__main__':\n"
        f"    import sys; sys.path.insert(0, {str(HERE)!r})\n"
        f"    for _ in in_child('child_targets:wait_and_tidy', {{'folder': {str(tmp_path)!r}}}): pass\n"
    )
    (tmp_path / "parent.py").write_text(script)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")])
    assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    pid = int((tmp_path / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda: not is_running(pid))
