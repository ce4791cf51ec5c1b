"""Follow the order of write, fsync and rename in a trace of the system calls: a promise made before its flush is a broken one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_breastseg.evaluation.session_trials.material import random_edit, small_case, small_prediction
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.session.disk.durable import TEMPORARY

EDITS = 10
_CALLS = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2"


def flush_order(place: Path, note: str = "") -> Job[Trial]:
    """Trace a process that records edits and a prediction; `note` says why this is done instead of something else."""
    yield Progress(0, 1, "Following the system calls")
    log = place / "calls"
    command = ["strace", "-f", "-y", "-s", "64", "-e", _CALLS, "-o", str(log), sys.executable, "-m", __name__, str(place / "traced")]
    why = f"{note}; " if note else ""
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return Trial("power", skipped=f"{why}strace is not installed")
    if "ptrace" in ran.stderr:
        return Trial("power", skipped=f"{why}strace is not allowed here")
    acknowledged, renamed, problems = check_order(log.read_text(encoding="utf-8", errors="replace").splitlines())
    aims = (
        Aim("edits acknowledged", acknowledged, EDITS, at_least=True),
        Aim("folders that got their final names", renamed, 3, at_least=True),
        Aim("promises before their flush", len(problems)),
    )
    return Trial("power", aims, {"how": "order of write, fsync and rename, by strace", "why": note}, tuple(problems))


def check_order(calls: Iterable[str]) -> tuple[int, int, list[str]]:
    """Return how many edits were acknowledged, how many folders got their final names, and the calls that came before their flush."""
    unflushed: set[str] = set()
    acknowledged = renamed = 0
    problems = []
    for line in calls:
        path = line.split("<", 1)[1].split(">", 1)[0] if "<" in line else ""
        if "write" in line and '"acknowledged' in line:
            acknowledged += 1
            problems += [f"{name} was not flushed: {line}" for name in unflushed if name.endswith("-wal")]
        elif " write(" in line or " pwrite64(" in line:
            if not path.endswith(".partial"):  # Zarr writes aside too and renames within what we flush later
                unflushed.add(path)
        elif "sync(" in line:
            unflushed.discard(path)
        elif " rename" in line and ".partial" in line:
            unflushed.add(line.split('"')[3])
        elif " rename" in line and TEMPORARY in line:
            renamed += 1
            source = line.split('"')[1]
            problems += [f"{name} was not flushed: {line}" for name in unflushed if name.startswith(source)]
    return acknowledged, renamed, problems


def _traced(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with Session.create(folder) as session:
        case_id = session.add_case(small_case())
        for base in range(EDITS):
            session.record(case_id, random_edit(rng, base))
            os.write(sys.stdout.fileno(), b"acknowledged\n")
        session.add_prediction(case_id, small_prediction(0))


if __name__ == "__main__":
    _traced(Path(sys.argv[1]))
