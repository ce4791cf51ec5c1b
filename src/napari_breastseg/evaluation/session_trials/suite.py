"""All trials, one after another: what `napari-breastseg benchmark session` runs."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.benchmarks.timing import machine
from napari_breastseg.evaluation.session_trials.bit_flips import bit_flips
from napari_breastseg.evaluation.session_trials.contention import two_processes
from napari_breastseg.evaluation.session_trials.disk_full import full_disks
from napari_breastseg.evaluation.session_trials.kills import kills
from napari_breastseg.evaluation.session_trials.latency import stroke_latency
from napari_breastseg.evaluation.session_trials.power import power_cuts
from napari_breastseg.evaluation.session_trials.trial import Trial
from napari_breastseg.progress import Job
from napari_breastseg.session import Session


class Plan(NamedTuple):
    """A trial and how often it tries: in full, and quickly."""

    job: Callable[[Path, int], Job[Trial]]
    full: int
    quick: int


PLANS = {
    "kills": Plan(kills, 200, 20),
    "disk-full": Plan(full_disks, 50, 5),
    "power": Plan(power_cuts, 15, 3),
    "two-processes": Plan(two_processes, 40, 10),
    "bit-flips": Plan(bit_flips, 300, 30),
    "latency": Plan(stroke_latency, 10_000, 500),
}


def benchmark_session(folder: Path | None = None, only: Sequence[str] = (), quick: bool = False) -> Job[dict[str, Any]]:
    """Try to break sessions, and time strokes.

    Parameters
    ----------
    folder : Path, optional
        Where to work, so that the disk under it is the one that is tried; a temporary folder by default. What is made there is removed.
    only : sequence of str
        Names of the trials in :data:`PLANS`; all of them if empty.
    quick : bool
        Try a few times only.

    Returns
    -------
    dict
        JSON-ready: the machine, and per trial its aims, whether they were met, and figures.

    Raises
    ------
    InputError
        If `folder` is none.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give one on the disk that is to be tried.")
    said: dict[str, Any] = {"machine": _machine(), "quick": quick}
    trials = []
    with tempfile.TemporaryDirectory(prefix="session-trials-", dir=folder) as place, _damage_expected():
        said |= {"folder": str(Path(place).parent), "file_system": _file_system(Path(place))}
        for name in only or PLANS:
            plan = PLANS[name]
            own = Path(place, name)
            own.mkdir()
            began = time.perf_counter()
            trial = yield from plan.job(own, plan.quick if quick else plan.full)
            trials.append(trial.as_json() | {"seconds": time.perf_counter() - began})
    return said | {"trials": trials, "met": all(trial["met"] is not False for trial in trials)}


@contextmanager
def _damage_expected() -> Iterator[None]:
    """Keep the session's warnings of damage back, as the damage is ours."""
    log = logging.getLogger(Session.__module__.rpartition(".")[0])
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _machine() -> dict[str, Any]:
    found = machine()
    found["versions"] |= {"sqlite": sqlite3.sqlite_version} | {name: _version(name) for name in ("zarr", "icechunk", "napari-breastseg")}
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _file_system(place: Path) -> str | None:
    """Name the kind of file system that `place` lies on, where the system says it."""
    over = [disk for disk in psutil.disk_partitions(all=True) if place.resolve().is_relative_to(disk.mountpoint)]
    return max(over, key=lambda disk: len(disk.mountpoint)).fstype if over else None
