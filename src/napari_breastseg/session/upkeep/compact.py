"""Give back the room that nothing needs: label snapshots that only save time, and what interrupted writes left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from napari_breastseg.progress import Job, Progress
from napari_breastseg.session.disk.durable import TEMPORARY, in_words, remove
from napari_breastseg.session.disk.places import CASES, ENCODED, LABELS, PREDICTIONS, WORK
from napari_breastseg.session.parts import Parts


def compact(parts: Parts) -> Job[int]:
    """Make a session as small as it can be without losing a version, an edit, a prediction or a model; see :meth:`Session.compact`."""
    journal, snapshots, root = parts.journal, parts.annotations.snapshots, parts.root
    journal.writable()
    before = _size(root)
    yield Progress(0, 3, "Thinning out the label snapshots")
    snapshots.wait()
    snapshots.thin()
    yield Progress(1, 3, "Removing what nothing refers to")
    with journal.lock, in_words("The session", "compacted"):
        needed = {parts.cases.folder(row["case_id"]) for row in journal.rows("case")}
        needed |= {snapshots.folder(row["case_id"], row["seq"]) for row in journal.rows("snapshot")}
        needed |= {parts.predictions.folder(row["id"]) for row in journal.rows("prediction")}
        for folder in _stored(root):
            if folder not in needed and not folder.name.startswith(TEMPORARY):
                remove(folder)
        if parts.models.learning is None:
            for scratch in (WORK, ENCODED):
                shutil.rmtree(root / scratch, ignore_errors=True)
    yield Progress(2, 3, "Packing the journal")
    journal.compact()
    return before - _size(root)


def _stored(root: Path) -> Iterator[Path]:
    """Return every folder in which an array of the session may lie."""
    for place in (root / CASES, root / PREDICTIONS, *((root / LABELS).iterdir() if (root / LABELS).is_dir() else ())):
        yield from place.iterdir() if place.is_dir() else ()


def _size(root: Path) -> int:
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):  # others go on writing
                total += os.lstat(Path(folder, name)).st_size
    return total
