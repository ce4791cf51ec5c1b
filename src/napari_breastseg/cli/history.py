"""What the session commands say and do, without their options."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from napari_breastseg.case import TUMOUR, slices
from napari_breastseg.cli.versions import find_case
from napari_breastseg.errors import InputError
from napari_breastseg.session import Comparison, Session, Share, Version

_VERSION = re.compile(r"(\d+)(?:/(\d+))?")


def log_case(folder: Path, case: str) -> tuple[dict[str, Any], Table]:
    """Return what happened to a case, JSON-ready and as a table."""
    with Session.open(folder, read_only=True) as session:
        case_id = find_case(session, case)
        moments = session.timeline(case_id)
    table = Table("version", "when", "what", "voxels", box=None)
    for moment in moments:
        table.add_row(spelled(moment.version), when(moment.time), moment.what, f"{moment.voxels:,}" if moment.voxels else "")
    return {"case": case_id, "moments": [asdict(moment) for moment in moments]}, table


def diff_case(folder: Path, case: str, first: str, second: str | None, out: Path | None) -> tuple[dict[str, Any], str, Table]:
    """Return what differs between two versions of a case, JSON-ready, in words and as a table; write the mask of changes to `out`."""
    with Session.open(folder, read_only=True) as session:
        case_id = find_case(session, case)
        found = session.compare(case_id, read_version(session, case_id, first), read_version(session, case_id, second))
        if out is not None:
            _write(session, case_id, found, out)
    table = Table("when", "by", "added", "removed", box=None)
    for share in found.shares:
        table.add_row(when(share.time), _by(share), f"{share.added:,}", f"{share.removed:,}")
    answer: dict[str, Any] = {
        "case": case_id,
        "from": asdict(found.first),
        "to": asdict(found.second),
        "box": found.box,
        "added": sum(share.added for share in found.shares),
        "removed": sum(share.removed for share in found.shares),
        "shares": [asdict(share) for share in found.shares],
        "mask": None if out is None else str(out),
    }
    words = f"{answer['added']:,} voxels added, {answer['removed']:,} removed from {spelled(found.first)} to {spelled(found.second)}"
    return answer, words, table


def checkout_case(folder: Path, case: str, seq: int) -> tuple[dict[str, Any], str]:
    """Make an earlier annotation the present one and return what was done, JSON-ready and in words."""
    with Session.open(folder) as session:
        case_id = find_case(session, case)
        change = session.checkout(case_id, seq)
        now = session.seq(case_id)
    words = f"The annotation is that of edit {seq} already." if change is None else f"Edit {now} made edit {seq} the present annotation."
    return {"case": case_id, "seq": now, "changed": change is not None}, words


def read_version(session: Session, case_id: str, text: str | None) -> Version:
    """Read a version as the log spells it: without a prediction, the one that stood when the edit was made; None is the present one."""
    now = session.now(case_id)
    if text is None:
        return now
    match = _VERSION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is no version. Write an edit such as 12, or edit/prediction such as 12/2.")
    seq = int(match[1])
    if match[2] is not None:
        return Version(seq, int(match[2]) or None)
    stood = [moment.version.prediction for moment in session.timeline(case_id) if moment.before.seq < seq]
    return Version(seq, stood[-1] if stood else None)


def spelled(version: Version) -> str:
    """Write a version as edit/prediction; 0 stands for none."""
    return f"{version.seq}/{version.prediction or 0}"


def when(time: str) -> str:
    """Write a time of the session in the clock of this computer; as it is if it is none."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ArithmeticError, ValueError):
        return time


def _by(share: Share) -> str:
    if share.kind == "edit":
        return f"{share.by}, edit {share.number}"
    if share.kind == "done":
        return "case done"
    if share.kind == "nothing":
        return "nothing predicted or drawn"
    return f"{share.kind} {share.number} by model {share.by[:12]}"


def _write(session: Session, case_id: str, found: Comparison, out: Path) -> None:
    from napari_breastseg.io import write_mask

    case = session.case(case_id)
    changes: Any = np.zeros(case.shape, np.uint8)
    if found.box is not None:
        changes[slices(found.box)] = np.where(found.before == found.after, 0, np.where(found.after == TUMOUR, 1, 2))
    write_mask(changes, case.geometry, out)
