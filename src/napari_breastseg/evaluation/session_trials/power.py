"""A simulated power cut: what the block device holds at the moment of the kill is all that there is afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from napari_breastseg.evaluation.session_trials import mounts
from napari_breastseg.evaluation.session_trials.audit import Audit
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import SHAPE, small_case
from napari_breastseg.evaluation.session_trials.order import flush_order
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.evaluation.session_trials.writer import run_until_killed
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

MEGABYTES = 64
_CONTROL = b"never flushed" * 1000


def power_cuts(place: Path, count: int = 15) -> Job[Trial]:
    """Cut a writer's disk off `count` times; where no disk can be mounted, follow its system calls instead."""
    audit = Audit()
    controls = 0
    try:
        for number in range(count):
            yield Progress(number, count, "Cutting the power")
            controls += _cut(place, audit)
    except mounts.NotAllowed as error:
        return (yield from flush_order(place, f"no disk could be mounted: {error}"))
    figures = {
        "cuts": count,
        "file_system": "ext4 on a loop device, imaged right after SIGKILL",
        "edits_acknowledged": audit.edits,
        "predictions_acknowledged": audit.predictions,
        "rounds_acknowledged": audit.rounds,
    }
    cut_off = Aim("cuts that lost a control file that was never flushed", controls, count, at_least=True)
    return Trial("power", (cut_off, *audit.aims()), figures, audit.problems())


def _cut(place: Path, audit: Audit) -> bool:
    """Cut once and audit what is left; tell whether a file that nobody flushed was lost, as it must be if the cut is to mean anything."""
    disk, image = place / "disk.ext4", place / "after.ext4"
    mounts.make_ext4(disk, MEGABYTES)
    rng = np.random.default_rng()
    with mounts.ext4(place / "disk", disk) as mounted:
        with Session.create(mounted / "session") as session:
            case_id = session.add_case(small_case())
        (mounted / "control").write_bytes(_CONTROL)
        told = run_until_killed(mounted / "session", case_id, rng.uniform(0, 0.5), one_of_each=True)
        shutil.copyfile(disk, image)
    with mounts.ext4(place / "after", image) as mounted:
        audit.reopen(mounted / "session", case_id, told, History(SHAPE), rng)
        control = mounted / "control"
        return not control.exists() or control.read_bytes() != _CONTROL
