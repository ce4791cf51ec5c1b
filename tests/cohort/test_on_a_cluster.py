"""A cohort on a real Dask cluster of two workers on this machine, in processes of their own, that share no folder with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cohort_targets
import pytest
from distributed import Client, LocalCluster

from napari_breastseg.cohort import job, lanes, predict, predict_cohort
from napari_breastseg.compute import here
from napari_breastseg.errors import InputError
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import run

Make = Callable[..., list[ListedCase]]


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as started:
        yield started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "JOB", "cohort_targets:predict_cases")


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


@pytest.mark.slow
def test_a_worker_killed_midway_costs_no_case(
    dask: LocalCluster, cohort: Make, model: Model, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = cohort(*(f"slow {i}" for i in range(8)))
    with Client(dask.scheduler_address, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())
    going = predict_cohort(cases, model, out, scheduler=dask.scheduler_address, probability=True)
    while len(list(out.glob("slow*.json"))) < 2:
        next(going)
    os.kill(pids[0], signal.SIGKILL)
    found = run(going)
    assert found.failures == [] and found.done == 8
    assert len(list((out / "probability").iterdir())) == 8
    monkeypatch.setattr(predict, "in_child", here)
    monkeypatch.setattr(job, "predict", cohort_targets.predict)
    run(predict_cohort(cases, model, out.with_name("here")))
    assert masks(out) == masks(out.with_name("here"))


def test_a_failure_there_names_the_file_here_and_the_rest_is_done(dask: LocalCluster, cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a", "b", "faulty c")
    cases[0].files[1].write_bytes(b"no image")
    found = run(predict_cohort(cases, model, out, scheduler=dask.scheduler_address))
    assert [row.status for row in found.rows] == ["failed", "done", "failed"]
    assert str(cases[0].files[1]) in found.rows[0].error and "a bug" in found.rows[2].error
    again = run(predict_cohort(cases, model, out, scheduler=dask.scheduler_address))
    assert again.skipped == 1


def test_cancelling_leaves_nothing_half_done(dask: LocalCluster, cohort: Make, model: Model, out: Path) -> None:
    going = predict_cohort(cohort(*(f"slow {i}" for i in range(6))), model, out, scheduler=dask.scheduler_address)
    while not list(out.glob("*.json")):
        next(going)
    going.close()
    done = {path.stem for path in out.glob("*.json")}
    assert {path.name.removesuffix(".nii.gz") for path in out.glob("*.nii.gz")} == done and 1 <= len(done) < 6
    assert not list((out / ".work" / "cases").iterdir())


def test_where_no_scheduler_answers_one_sentence_says_so(cohort: Make, model: Model, out: Path) -> None:
    with pytest.raises(InputError, match="is no address of a Dask scheduler"):
        run(predict_cohort(cohort("a"), model, out, scheduler="nonsense"))
