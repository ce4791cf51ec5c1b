"""Jobs on a real Dask cluster on this machine: a scheduler, and workers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_targets import Named, Pair
from dask import array
from distributed import Client, LocalCluster

from napari_breastseg.compute import Where, cluster, on_scheduler
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.progress import Progress, run


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    """One worker with one thread; it imports what this process imports."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as started:
        yield started


@pytest.fixture
def where(dask: LocalCluster) -> Iterator[Where]:
    """A place on the cluster, which afterwards must be as it was before."""
    yield on_scheduler(dask.scheduler_address)
    with Client(dask.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=120)
        assert until(lambda: left_behind(client) == NOTHING), left_behind(client)


NOTHING = {"tasks": 0, "clients": 1, "queues": 0, "variables": 0, "actors": [0], "folders": []}


def left_behind(client: Client) -> dict[str, Any]:
    def count(dask_scheduler: Any) -> dict[str, Any]:
        extensions = dask_scheduler.extensions
        return {
            "tasks": len(dask_scheduler.tasks),
            "clients": len(set(dask_scheduler.clients) - {"fire-and-forget"} - {c for c in dask_scheduler.clients if "Cluster" in c}),
            "queues": len(extensions["queues"].queues),
            "variables": len(extensions["variables"].variables),
        }

    def at_worker(dask_worker: Any) -> tuple[int, list[str]]:
        import pathlib

        folders = pathlib.Path(dask_worker.local_directory).glob("napari-breastseg-*")
        return len(dask_worker.state.actors), [str(folder) for folder in folders]

    workers = client.run(at_worker).values()
    return {**client.run_on_scheduler(count), "actors": [n for n, _ in workers], "folders": [f for _, found in workers for f in found]}


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def written(path: Path) -> str:
    assert until(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


def test_arrays_of_this_process_are_computed_here_meanwhile(where: Where) -> None:
    """A window goes on drawing lazy images while a model learns on a cluster."""
    job, total = where("cluster_targets:numbered", {"n": 300}, "counting"), 0
    for progress in job:
        if progress.payload is not None:
            assert int(array.ones(4, chunks=2).sum().compute()) == 4
            total += 1
    assert total


def test_result_and_every_progress_come_back_in_order(where: Where) -> None:
    seen: list[Progress] = []
    assert run(where("cluster_targets:numbered", {"n": 300}, "counting"), seen.append) == 300
    payloads = [progress.payload["i"] for progress in seen if progress.payload is not None]
    assert payloads == list(range(300))


def test_arrays_cross_and_it_is_another_process(where: Where) -> None:
    seen: list[Progress] = []
    assert run(where("child_targets:add", {"a": 2, "b": 3}, "adding"), seen.append) == 5
    np.testing.assert_array_equal(next(p.payload for p in seen if p.message == "adding"), [0, 1, 2])
    assert run(where("child_targets:facts", {}, "looking"))[0] != os.getpid()


def test_a_silent_job_is_heard_of_every_half_second(where: Where) -> None:
    heard, last = [], time.monotonic()
    for progress in (job := where("cluster_targets:silent", {"seconds": 2.0}, "thinking")):
        now = time.monotonic()
        if progress.message == "thinking":
            heard.append(now - last)
        last = now
    job.close()
    assert len(heard) >= 3
    assert max(heard[1:]) < 1.0


def test_files_are_sent_by_value_wherever_they_stand_in_the_arguments(where: Where, tmp_path: Path) -> None:
    contents = {"a/x.npy": b"a", "b/x.npy": b"b", "c/x.npy": b"", "a/y": b"y" * (9 << 20), "b/z": b"z"}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    kwargs = {
        "pair": Pair("two of one name", tmp_path / "a/x.npy", tmp_path / "b/x.npy"),
        "listed": [tmp_path / "c/x.npy"],
        "named": Named(tmp_path / "a/y"),
        "keyed": {"z": tmp_path / "b/z"},
    }
    found = run(where("cluster_targets:read_all", kwargs, "reading"))
    assert found == {"left": b"a", "right": b"b", "listed 0": b"", "named": b"y" * (9 << 20), "z": b"z"}


def test_a_model_has_its_card_beside_it_and_nothing_else(where: Where, tmp_path: Path) -> None:
    model = tmp_path / "x.safetensors"
    model.write_bytes(b"weights")
    model.with_suffix(".json").write_text("card")
    (tmp_path / "someone else's").write_text("stays")
    there, card, here, names = run(where("cluster_targets:facts", {"model": model}, "looking"))
    assert card == "card"
    assert names == ["x.json", "x.safetensors"]
    assert here == model  # a path in the result is a path of this machine again
    assert Path(there).name == "x.safetensors" and Path(there).parent != tmp_path


def test_a_work_folder_goes_there_and_comes_back(where: Where, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("begun")
    (tmp_path / "input").write_text("input")
    before = (tmp_path / "input").stat().st_mtime_ns
    assert run(where("cluster_targets:write", {"folder": tmp_path, "megabytes": 9}, "writing")) == tmp_path / "deeper" / "new"
    assert (tmp_path / "state").read_text() == "begun and more"
    assert (tmp_path / "deeper" / "new").read_text() == "new"
    assert (tmp_path / "big").stat().st_size == 9 << 20
    assert (tmp_path / "input").stat().st_mtime_ns == before  # what did not change is not brought
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "deeper", "input", "state"]


def test_what_a_job_wrote_is_here_although_it_was_cancelled(where: Where, tmp_path: Path) -> None:
    job = where("cluster_targets:write_and_wait", {"folder": tmp_path}, "writing")
    for _ in job:
        if (tmp_path / "state").exists():
            break
    job.close()
    assert (tmp_path / "state").read_text() == "step 20"


def test_closing_stops_the_job_within_two_seconds(where: Where, tmp_path: Path) -> None:
    job = where("cluster_targets:wait_and_tell", {"notes": str(tmp_path)}, "waiting")
    while next(job).message != "waiting":
        pass
    start = time.monotonic()
    job.close()
    assert until((tmp_path / "tidy").exists, 2)
    assert time.monotonic() - start < 2


def test_closing_before_the_start_starts_nothing(where: Where, tmp_path: Path) -> None:
    job = where("cluster_targets:wait_and_tell", {"notes": str(tmp_path)}, "waiting")
    next(job)
    job.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_job_waits_for_the_first(where: Where, tmp_path: Path) -> None:
    first = where("cluster_targets:wait_and_tell", {"notes": str(tmp_path)}, "waiting")
    while next(first).message != "waiting":
        pass
    second = where("cluster_targets:numbered", {"n": 1}, "counting")
    while "another job" not in (message := next(second).message):
        assert message != "counting"
    first.close()
    assert run(second) == 1


def test_errors_are_those_of_a_child(where: Where) -> None:
    with pytest.raises(InputError, match=r"^The mask is empty\. Paint first\.$"):
        run(where("child_targets:refuse", {}, "learning"))
    with pytest.raises(ComputeError, match="not enough memory"):
        run(where("child_targets:hungry", {}, "learning"))
    with pytest.raises(ComputeError, match="The learning process failed: ZeroDivisionError: a bug in the child") as caught:
        run(where("child_targets:fail", {}, "learning"))
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.__notes__[0]


def test_a_killed_worker_is_told_at_once(where: Where, tmp_path: Path) -> None:
    job = where("cluster_targets:wait_and_tell", {"notes": str(tmp_path)}, "learning")
    while next(job).message != "waiting":
        pass
    os.kill(int(written(tmp_path / "pid")), signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(ComputeError, match="worker of the learning process was lost"):
        run(job)
    assert time.monotonic() - start < 5


def test_the_job_stops_when_the_client_dies(where: Where, dask: LocalCluster, tmp_path: Path) -> None:
    script = (
        "from napari_breastseg.compute import on_scheduler\n"
        f"where = on_scheduler({dask.scheduler_address!r})\n"
        f"for _ in where('cluster_targets:wait_and_tell', {{'notes': {str(tmp_path)!r}}}, 'waiting'): pass\n"
    )
    client = subprocess.Popen([sys.executable, "-c", script])
    written(tmp_path / "pid")
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert until((tmp_path / "tidy").exists)


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1:8786", "tcp://127.0.0.1"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match="is no address of a Dask scheduler. Give it as tcp://host:8786"):
        on_scheduler(address)


def test_where_nobody_answers_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with pytest.raises(InputError, match="No Dask scheduler answers at tcp://127.0.0.1:1"):
        run(on_scheduler("tcp://127.0.0.1:1")("child_targets:add", {"a": 1, "b": 1}, "adding"))


def test_a_cluster_without_workers_is_told() -> None:
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(ComputeError, match=f"has no workers. Start one with `dask worker {empty.scheduler_address}`"),
    ):
        run(on_scheduler(empty.scheduler_address)("child_targets:add", {"a": 1, "b": 1}, "adding"))


@pytest.mark.parametrize("package", cluster.PACKAGES)
def test_workers_with_another_version_do_not_get_the_job(where: Where, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cluster.version
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "PACKAGES", (package,))
        patched.setattr(cluster, "version", Ours(real))
        with pytest.raises(ComputeError, match=f'has {package} 999, .* there it is: {real(package)}. Run pip install "{package}==999"'):
            run(where("child_targets:add", {"a": 1, "b": 1}, "adding"))


class Ours:
    """A version that differs here but, sent to a worker, is the real one."""

    def __init__(self, real: Callable[[str], str]) -> None:
        self.real = real

    def __call__(self, package: str) -> str:
        return "999"

    def __reduce__(self) -> Any:
        return getattr, (sys.modules["importlib.metadata"], "version")


def test_without_distributed_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ComputeError, match=r'pip install "napari-breastseg\[cluster\]"'):
        on_scheduler("tcp://127.0.0.1:8786")


def test_the_dask_client_of_the_person_stays_theirs(where: Where, dask: LocalCluster) -> None:
    with Client(dask.scheduler_address, set_as_default=True) as theirs:
        assert run(where("child_targets:add", {"a": 1, "b": 1}, "adding")) == 2
        assert theirs.submit(sum, [1, 2]).result() == 3
        assert Client.current() is theirs
