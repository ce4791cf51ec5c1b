"""What happens before a session is open for writing: the lock, the checks, the way from an older format, and the recovery from a crash."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.durable import aside, fsync_file, publish, remove_leftovers
from napari_breastseg.session.disk.places import CASES, DATABASE, ENCODED, LABELS, MODELS, PREDICTIONS, WORK, is_plain, on_network
from napari_breastseg.session.disk.text import from_json
from napari_breastseg.session.journal import Journal, connect, overwrite, version_of
from napari_breastseg.session.models import LEARNING
from napari_breastseg.session.parts import Parts
from napari_breastseg.session.schema import VERSION, migrate
from napari_breastseg.session.timeline import RECOVERED
from napari_breastseg.software import software

DAMAGED_LOG = "damaged-log"
"""The event that tells of a write-ahead log that was damaged when a crash left it behind."""
MIGRATED = "migrated"
REPAIRED = "repaired"
"""The event that tells what was mended."""
SOFTWARE = "software"
"""The event that tells with which versions of the programs the session is written from then on."""


LEARNING_INTERRUPTED = "Learning was interrupted. Press Learn to go on where it stood; no correction is lost."
"""One of the sentences of a recovery."""
_SYNCHRONISED = ("dropbox", "onedrive", "google drive", "icloud", "nextcloud")


@dataclass(frozen=True)
class LeftBehind:
    """What the last writer left: its lock, and a damaged log that is kept in the folder `log`."""

    owner: dict[str, Any] | None
    log: str | None


def bring_up_to_date(root: Path) -> int | None:
    """Write a session of an older format anew in this one, keep the old database beside it, and return the old format; else None.

    Raises
    ------
    SessionError
        If a row of the old database is damaged; then nothing is changed.
    """
    path = root / DATABASE
    with closing(connect(path, read_only=False)) as old:
        version = version_of(old, path)
        if version == VERSION:
            return None
        old.execute("PRAGMA synchronous=FULL")
        with aside(root) as temporary:
            with closing(sqlite3.connect(temporary)) as copy:
                old.backup(copy)
            fsync_file(temporary)
            publish(temporary, root / f"session.format-{version}.sqlite")
        overwrite(old, root, lambda new: migrate(old, new))
    return version


def tidy(parts: Parts, left: LeftBehind, migrated_from: int | None) -> tuple[str, ...]:
    """Remove what interrupted writes left, note what was recovered, and return sentences that tell the person."""
    journal = parts.journal
    remove_leftovers(writing_places(parts.root))
    for scratch in (parts.root / WORK, parts.root / ENCODED):
        _tidy_scratch(scratch)
    learning = _unfinished(journal)
    noted = [row["details"] for row, whole in journal.rows_as_found("event", "kind=?", (SOFTWARE,)) if whole]
    changed = not noted or from_json(noted[-1], "The event") != software()
    said = _sentences(parts, left, learning)
    if said or changed or migrated_from is not None:
        with suppress(SessionError), journal.transaction("The session's recovery"):  # a damaged entry is for repair, which needs this open
            if migrated_from is not None:
                journal.event(MIGRATED, {"from": migrated_from, "to": VERSION})
            if changed:
                journal.event(SOFTWARE, dict(software()))
            if left.owner is not None or left.log is not None:
                journal.event(RECOVERED, {"from": _without_host(left.owner), "learning": learning})
            if left.log is not None:
                journal.event(DAMAGED_LOG, {"kept": left.log})
            if learning is not None:
                journal.set_head(LEARNING, None)
    return said


def _tidy_scratch(folder: Path) -> None:
    """Keep what an interrupted learning round reached, without its copies of images; nothing at all if anything there leads elsewhere."""
    found = list(folder.iterdir()) if folder.is_dir() else []
    if not all(map(is_plain, found)):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in found:
        if path.suffix == ".npy":
            path.unlink()


def _unfinished(journal: Journal) -> object:
    try:
        return journal.head(LEARNING)
    except SessionError:
        return None


def _without_host(owner: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave the name of the computer out: it may be the name of a person, and stays in the session for ever."""
    return None if owner is None else {name: owner.get(name) for name in ("pid", "started")}


def advice(root: Path) -> tuple[str, ...]:
    """Return sentences that tell the person what speaks against the place of a session."""
    if on_network(root):
        return (f"{root} is a network folder: strokes are saved more slowly there, and safely only if the server writes through.",)
    service = next((name for name in _SYNCHRONISED if any(name in part.lower() for part in root.parts)), None)
    if service is not None:
        return (f"{root} is synchronised by {service}, which may change files while they are in use. Keep sessions elsewhere.",)
    return ()


def _sentences(parts: Parts, left: LeftBehind, learning: object) -> tuple[str, ...]:
    said: list[str] = []
    if left.owner is not None:
        edits = sum(count for _, count in parts.journal.light("SELECT case_id, count(*) FROM edit GROUP BY case_id"))
        predictions, cases = (parts.journal.light(f'SELECT count(*) FROM "{table}"')[0][0] for table in ("prediction", "case"))
        said.append(
            f"This session was not closed properly last time{_when(left.owner)}. Everything that was saved is here: "
            f"{_count(edits, 'edit')} and {_count(predictions, 'prediction')} of {_count(cases, 'case')}."
        )
    if left.log is not None:
        said.append(f"The newest edits were damaged on the disk and could not be read. The files as they were are in {left.log}.")
    if learning is not None:
        said.append(LEARNING_INTERRUPTED)
    return tuple(said)


def _when(owner: dict[str, Any]) -> str:
    try:
        started = datetime.fromisoformat(str(owner["started"])).astimezone()
    except (ArithmeticError, KeyError, ValueError):
        return ""
    return f" (opened on {started:%d %B at %H:%M})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def writing_places(root: Path) -> list[Path]:
    """Return the folders of a session in which files are written aside."""
    labels = root / LABELS
    return [root, root / CASES, root / PREDICTIONS, root / MODELS, *(labels.iterdir() if labels.is_dir() else ())]
