"""Whole annotations written aside from time to time, so that reopening and time travel replay few edits.

Nothing depends on them: a snapshot that is missing or damaged only means that more edits are replayed from an earlier one.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import SessionError
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.disk.durable import aside, in_words, publish, settle
from napari_breastseg.session.disk.images import StoredImage, create_image, fill
from napari_breastseg.session.disk.manifests import manifest_of, read_manifest
from napari_breastseg.session.disk.places import LABELS
from napari_breastseg.session.disk.text import to_json
from napari_breastseg.session.journal import Journal, now

EVERY = 50
"""Edits between two snapshots of a case at least."""
_LONGEST = 10
"""So many times as many at most: 500 edits are replayed in a tenth of a second."""
_ROW = 250
"""What an edit's row takes besides its arrays, in bytes."""

_log = logging.getLogger(__name__)


class Snapshots:
    """The label snapshots of a session and the one background thread that writes them."""

    def __init__(self, root: Path, journal: Journal, cases: Cases) -> None:
        self._root = root
        self._journal = journal
        self._cases = cases
        self._last: dict[str, tuple[int, int]] = {}
        self._worker: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def folder(self, case_id: str, seq: int) -> Path:
        """Return where the snapshot of a case at `seq` lies."""
        self._cases.folder(case_id)
        return self._root / LABELS / case_id / f"{seq}.zarr"

    def write(self, case_id: str, seq: int, labels: npt.NDArray[np.uint8]) -> None:
        """Store the annotation `labels` of a case as it stands at `seq`; does nothing if there is one for that seq."""
        with in_words("The label snapshot"), aside(self._root / LABELS / case_id) as temporary:
            manifest = self._fill(temporary, case_id, seq, labels)
            with self._journal.transaction("The label snapshot"):
                if not self._journal.rows("snapshot", "case_id=? AND seq=?", (case_id, seq)):
                    publish(temporary, self.folder(case_id, seq))
                    self._journal.append("snapshot", case_id=case_id, seq=seq, time=now(), manifest=manifest)
                    self._last.pop(case_id, None)

    def rewrite(self, row: sqlite3.Row, labels: npt.NDArray[np.uint8]) -> None:
        """Store the labels of a snapshot that was damaged anew."""
        case_id, seq = row["case_id"], row["seq"]
        with in_words("The label snapshot"), aside(self._root / LABELS / case_id) as temporary:
            manifest = self._fill(temporary, case_id, seq, labels)
            with self._journal.transaction("The label snapshot"):
                publish(temporary, self.folder(case_id, seq))
                self._journal.amend("snapshot", row, manifest=manifest)

    def thin(self) -> None:
        """Forget the snapshots without which reading any version still replays no more edits than it may."""
        self._journal.writable()
        with self._journal.lock:
            rows = self._journal.rows("snapshot")
            kept: list[sqlite3.Row] = []
            for case_id in dict.fromkeys(row["case_id"] for row in rows):
                kept += _spread(sorted((row for row in rows if row["case_id"] == case_id), key=lambda row: int(row["seq"])))
            with self._journal.transaction("The label snapshots"):
                self._journal.replace_all("snapshot", kept)
            self._last.clear()

    def _fill(self, temporary: Path, case_id: str, seq: int, labels: npt.NDArray[np.uint8]) -> str:
        own = {"case": case_id, "seq": seq, "undecided": UNDECIDED}
        spacing = self._cases.geometry(case_id).spacing
        fill(create_image(temporary, case_id, labels.shape, np.uint8, spacing, own=own, label=True), labels)
        settle(temporary)
        return to_json(manifest_of(temporary), "The label snapshot")

    def newest(self, case_id: str, at: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """Return the seq and the labels of the newest whole snapshot that is no later than `at`; seq 0 is nothing decided."""
        shape = self._cases.shape(case_id)
        found = self._journal.rows_as_found("snapshot", "case_id=? AND seq<=?", (case_id, at))
        for row, whole in reversed(found):
            try:
                if not whole:
                    raise SessionError(f"Entry {row['id']} of the table snapshot is damaged.")
                return row["seq"], self.read(row, shape)
            except SessionError as error:
                _log.warning("%s An earlier label snapshot and the journal are used instead.", error)
        return 0, np.full(shape, UNDECIDED, dtype=np.uint8)

    def read(self, row: sqlite3.Row, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Return the labels of a snapshot's row.

        Raises
        ------
        SessionError
            If its files are damaged.
        """
        folder = self.folder(row["case_id"], row["seq"])
        manifest = read_manifest(row["manifest"], folder.relative_to(self._root).as_posix())
        return StoredImage(self._root, folder, "0", manifest, shape, np.uint8)[...]

    def due(self, case_id: str, seq: int) -> bool:
        """Tell whether it is time for a snapshot of a case whose annotation stands at `seq`; says so once, and not while one is written.

        It is when the edits since the last one take as much room as it does, so that snapshots at most double what the journal takes,
        however large the images are.
        """
        if case_id not in self._last:
            self._last[case_id] = self._newest_row(case_id)
        last, room = self._last[case_id]
        edits = seq - last
        if edits <= 0 or edits % EVERY or (self._writing is not None and not self._writing.done()):
            return False
        query = "SELECT sum(length(mask) + length(new) + length(old) + ?) FROM edit WHERE case_id=? AND seq>?"
        ((spent,),) = self._journal.light(query, (_ROW, case_id, last))
        return edits >= _LONGEST * EVERY or int(spent) >= room

    def _newest_row(self, case_id: str) -> tuple[int, int]:
        """Return the seq of the newest snapshot of a case and the bytes that it takes; zeros if there is none."""
        for row, whole in reversed(self._journal.rows_as_found("snapshot", "case_id=?", (case_id,))):
            if whole:
                files = read_manifest(row["manifest"], "A label snapshot")
                return int(row["seq"]), sum(size for size, _ in files.values())
        return 0, 0

    def write_in_background(self, case_id: str, seq: int, labels: npt.NDArray[np.uint8]) -> None:
        """Have the background thread store `labels` (which nobody may change any more)."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="label-snapshots")
        self._writing = self._worker.submit(self._write_or_log, case_id, seq, labels)

    def _write_or_log(self, case_id: str, seq: int, labels: npt.NDArray[np.uint8]) -> None:
        try:
            self.write(case_id, seq, labels)
        except SessionError as error:
            _log.warning("%s No edit is lost by that: the journal has them all.", error)

    def wait(self) -> None:
        """Wait for the snapshot that is being written, if one is."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        """Wait for the snapshots that are being written."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)


def _spread(rows: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """Return the newest of the snapshots of a case and those that bridge the longest stretches of edits allowed."""
    kept: list[sqlite3.Row] = []
    last = 0
    for row, following in itertools.zip_longest(rows, rows[1:]):
        if following is None or following["seq"] - last > _LONGEST * EVERY:
            kept.append(row)
            last = row["seq"]
    return kept
