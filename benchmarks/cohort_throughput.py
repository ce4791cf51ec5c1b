"""A cohort on one and on two workers of a Dask scheduler on this machine, and with one of two workers killed midway.

Scheduler and workers are processes of their own; a worker has one thread. One and two workers take turns. What happens once in a cohort is
left out, since a real one is longer: before a run that is timed every worker has predicted a case, so that torch is loaded and the model
compiled; and the cases that are timed are copies of one phantom, so that none is left for a single worker at the end. A run during which
other processes took more than a tenth of the processors is done again, once they are quiet. Medians, to results/cohort.json::

    python benchmarks/cohort_throughput.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
import psutil
from distributed import Client

from napari_breastseg import load_model, make_phantom
from napari_breastseg.cohort import Cohort, predict_cohort
from napari_breastseg.io import write_map
from napari_breastseg.io.listing import ListedCase, list_cases
from napari_breastseg.progress import run

RESULT = Path(__file__).parent / "results" / "cohort.json"
CASES, SHAPE, PHASES, ROUNDS = 12, (64, 112, 112), 3, 3
ALIKE = 4
"""Seed of the phantom that is copied."""
QUIET = 0.1
MODEL = "hcma-unet"


def phantoms(folder: Path, *, alike: bool) -> list[ListedCase]:
    """Write a cohort, one folder per case."""
    for number in range(CASES):
        case = make_phantom(ALIKE if alike else number, SHAPE, phases=PHASES, lesions=1).case
        (folder / f"phantom-{number:02d}").mkdir(parents=True)
        for index in range(PHASES):
            write_map(case.images[index], case.geometry, folder / f"phantom-{number:02d}" / f"scan_{index:04d}.nii.gz")
    return list_cases(folder).cases


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Start a scheduler and workers; yield its address and their process ids."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder))
        return started[-1]

    try:
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0")
        assert scheduler.stderr is not None
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at" in line)
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            pids = list(client.run(os.getpid).values())
        yield address, pids
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def warm_up(cases: list[ListedCase], workers: int, folder: Path, address: str) -> None:
    """Have every worker predict a case: one that is still at its first one gets no second one."""
    run(predict_cohort(cases[:workers], load_model(MODEL), folder / "warm", scheduler=address))


def timed(cases: list[ListedCase], workers: int) -> float:
    """Return the seconds that a cohort takes on so many workers of a machine that does nothing else."""
    while True:
        while psutil.cpu_percent(5) > 100 * QUIET:
            pass
        with tempfile.TemporaryDirectory() as name, cluster(workers, Path(name)) as (address, _):
            warm_up(cases, workers, Path(name), address)
            ours, all_of_it = own_seconds(), busy_seconds()
            found = checked(run(predict_cohort(cases, load_model(MODEL), Path(name) / "out", scheduler=address)))
            others = (busy_seconds() - all_of_it - own_seconds() + ours) / found.seconds / (os.cpu_count() or 1)
        print(f"{workers} worker(s): {found.seconds:.1f} s; others took {others:.0%} of the processors", file=sys.stderr)
        if others < QUIET:
            return found.seconds


def own_seconds() -> float:
    """Return the processor seconds of this process and of those that it has started."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


def busy_seconds() -> float:
    """Return the processor seconds of everything."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def checked(cohort: Cohort) -> Cohort:
    """Refuse a run in which a case failed."""
    if cohort.failures:
        raise SystemExit(f"{cohort.failures[0].case} failed: {cohort.failures[0].error}")
    return cohort


def masks(folder: Path) -> dict[str, bytes]:
    """Return every mask as it was written."""
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def killed(cases: list[ListedCase]) -> dict[str, object]:
    """Kill one of two workers when a third of the cases is done; compare with one worker that nobody disturbs.

    And with this computer alone: its child process uses all cores, and sums of another order round otherwise.
    """
    model = load_model(MODEL)
    with tempfile.TemporaryDirectory() as name:
        out, alone, quiet = (Path(name) / which for which in ("out", "alone", "quiet"))
        with cluster(2, Path(name)) as (address, pids):
            going, dead = predict_cohort(cases, model, out, scheduler=address), False
            while True:
                try:
                    next(going)
                except StopIteration as stop:
                    found = checked(stop.value)
                    break
                if not dead and len(masks(out)) >= CASES // 3:
                    os.kill(pids[0], signal.SIGKILL)
                    dead, at = True, len(masks(out))
        with cluster(1, Path(name)) as (address, _):
            checked(run(predict_cohort(cases, model, quiet, scheduler=address)))
        checked(run(predict_cohort(cases, model, alone)))
        tumour = sum(row.facts()["tumour_voxels"] for row in found.rows)
        return {
            "killed after": at,
            "done": found.done,
            "masks are those of an undisturbed worker": masks(out) == masks(quiet),
            "tumour voxels": tumour,
            "voxels unlike those of one computer with all its cores": sum(unlike(out / mask, alone / mask) for mask in masks(out)),
        }


def unlike(one: Path, other: Path) -> int:
    """Return in how many voxels two masks differ."""
    return int((np.asarray(nib.load(one).dataobj) != np.asarray(nib.load(other).dataobj)).sum())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    as_json = parser.parse_args().json
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        cases = phantoms(Path(name) / "alike", alike=True)
        for _ in range(ROUNDS):
            for workers, times in seconds.items():
                times.append(timed(cases, workers))
        kill = killed(phantoms(Path(name) / "different", alike=False))
    one, two = median(seconds[1]), median(seconds[2])
    import torch

    report = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "cohort": {"cases": CASES, "shape": SHAPE, "phases": PHASES, "model": MODEL, "threads per worker": 1},
        "seconds": {f"{workers} worker(s)": times for workers, times in seconds.items()},
        "seconds per case": {"1 worker(s)": round(one / CASES, 2), "2 worker(s)": round(two / CASES, 2)},
        "throughput of two against one": round(one / two, 2),
        "one of two killed midway": kill,
    }
    RESULT.write_text(json.dumps(report, indent=4) + "\n")
    if as_json:
        print(json.dumps(report))
    else:
        print(f"workers  s per case  cases per min\n1        {one / CASES:10.2f}  {60 * CASES / one:13.1f}")
        print(f"2        {two / CASES:10.2f}  {60 * CASES / two:13.1f}\ntwo against one: {one / two:.2f}; one of two killed midway: {kill}")


if __name__ == "__main__":
    main()
