"""The workers of a Dask cluster, each a place of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from napari_breastseg.compute import LostError, alone, cluster, crew, here, in_child, on_scheduler
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.progress import run


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as started:
        yield started


def pids(address: str) -> dict[str, int]:
    with Client(address, set_as_default=False) as client:
        found: dict[str, int] = client.run(os.getpid)
    return found


def test_each_worker_is_a_place_of_its_own(dask: LocalCluster) -> None:
    watching = crew(dask.scheduler_address)
    places = next(watching).payload
    there = {worker: run(place("child_targets:facts", {}, "looking"))[0] for worker, place in places.items()}
    assert there == pids(dask.scheduler_address)
    watching.close()


def test_a_job_has_the_threads_that_its_worker_was_given(dask: LocalCluster) -> None:
    """Dask starts a worker with one thread for numerics, whatever ``--nthreads`` says."""
    assert run(on_scheduler(dask.scheduler_address)("cluster_targets:threads", {}, "counting")) == 2


def test_workers_come_and_go(dask: LocalCluster) -> None:
    watching = crew(dask.scheduler_address)
    before = next(watching).payload
    dask.scale(3)
    while len(now := next(watching).payload) < 3:
        pass
    assert before.keys() < now.keys()
    (new,) = now.keys() - before.keys()
    assert run(now[new]("child_targets:add", {"a": 2, "b": 3}, "adding")) == 5
    dask.scale(2)
    while len(next(watching).payload) > 2:
        pass
    watching.close()


def test_a_worker_that_is_killed_is_lost_and_no_place_any_more(dask: LocalCluster) -> None:
    watching = crew(dask.scheduler_address)
    worker, place = next(iter(next(watching).payload.items()))
    with pytest.raises(LostError, match="worker of the looking process was lost"):
        run(place("child_targets:killed", {}, "looking"))
    with pytest.raises(LostError, match="was lost"):
        run(place("child_targets:facts", {}, "looking"))
    while worker in next(watching).payload:
        pass
    while len(next(watching).payload) < 2:  # Dask starts another in its stead
        pass
    watching.close()


def test_workers_with_other_packages_are_no_places(dask: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as others will do; with none that will, it says what to install."""
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_suitable", lambda client, address, workers: sorted(workers)[:1])
        watching = crew(dask.scheduler_address)
        assert [len(next(watching).payload) for _ in range(3)] == [1, 1, 1]
        watching.close()

    def none(client: Client, address: str, workers: set[str]) -> list[str]:
        raise ComputeError("No worker has it. Install it there.")

    monkeypatch.setattr(cluster, "_suitable", none)
    with pytest.raises(ComputeError, match="Install it there"):
        next(crew(dask.scheduler_address))


def test_a_scheduler_that_dies_is_told() -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    address = next(line.split()[-1] for line in started.stderr if "Scheduler at" in line)
    watching = crew(address)
    assert next(watching).payload == {}
    started.kill()
    started.wait()
    with pytest.raises(ComputeError, match="connection to the Dask scheduler at .* was lost .*; what is done is kept. See"):
        run(watching)


def test_what_is_no_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no address of a Dask scheduler"):
        next(crew("nonsense"))
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with pytest.raises(InputError, match="No Dask scheduler answers at tcp://127.0.0.1:1"):
        next(crew("tcp://127.0.0.1:1"))


def test_alone_there_is_one_place_all_the_time() -> None:
    watching: Any = alone(here)
    assert [list(next(watching).payload.values()) for _ in range(2)] == [[here], [here]]


def test_a_killed_child_is_a_lost_place() -> None:
    with pytest.raises(LostError, match="lack of memory"):
        run(in_child("child_targets:killed", {}))
