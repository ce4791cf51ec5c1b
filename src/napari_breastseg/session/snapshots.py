"""Whole annotations written aside from time to time, so that reopening and time travel replay few edits.

Nothing depends on them: a snapshot that is missing or damaged only means that more edits are replayed from an earlier one.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import SessionError
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.durable import aside, in_words, manifest_of, publish, settle, to_json
from napari_breastseg.session.images import StoredImage, create_image, fill
from napari_breastseg.session.journal import Journal, now

LABELS = "labels"
EVERY = 50
"""Edits between two snapshots of a case."""

_log = logging.getLogger(__name__)


class Snapshots:
    """The label snapshots of a session and the one background thread that writes them."""

    def __init__(self, root: Path, journal: Journal, cases: Cases) -> None:
        self._root = root
        self._journal = journal
        self._cases = cases
        self._due: dict[str, int] = {}
        self._worker: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def folder(self, case_id: str, seq: int) -> Path:
        """Return where the snapshot of a case at `seq` lies."""
        self._cases.folder(case_id)
        return self._root / LABELS / case_id / f"{seq}.zarr"

    def write(self, case_id: str, seq: int, labels: npt.NDArray[np.uint8]) -> None:
        """Store the annotation `labels` of a case as it stands at `seq`; does nothing if there is one for that seq."""
        spacing = self._cases.geometry(case_id).spacing
        with in_words("The label snapshot"), aside(self._root / LABELS / case_id) as temporary:
            own = {"case": case_id, "seq": seq, "undecided": UNDECIDED}
            fill(create_image(temporary, case_id, labels.shape, np.uint8, spacing, own=own, label=True), labels)
            settle(temporary)
            manifest = to_json(manifest_of(temporary), "The label snapshot")
            with self._journal.transaction("The label snapshot"):
                if not self._journal.rows("snapshot", "case_id=? AND seq=?", (case_id, seq)):
                    publish(temporary, self.folder(case_id, seq))
                    self._journal.append("snapshot", case_id=case_id, seq=seq, time=now(), manifest=manifest)

    def newest(self, case_id: str, at: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """Return the seq and the labels of the newest whole snapshot that is no later than `at`; seq 0 is nothing decided."""
        shape = self._cases.shape(case_id)
        found = self._journal.rows_as_found("snapshot", "case_id=? AND seq<=?", (case_id, at))
        for row, whole in reversed(found):
            try:
                if not whole:
                    raise SessionError(f"Entry {row['id']} of the table snapshot is damaged.")
                manifest = json.loads(row["manifest"])
                return row["seq"], StoredImage(self._root, self.folder(case_id, row["seq"]), "0", manifest, shape, np.uint8)[...]
            except SessionError as error:
                _log.warning("%s An earlier label snapshot and the journal are used instead.", error)
        return 0, np.full(shape, UNDECIDED, dtype=np.uint8)

    def due(self, case_id: str, seq: int) -> bool:
        """Tell whether it is time for a snapshot of a case whose annotation stands at `seq`; says so once, and not while one is written."""
        if case_id not in self._due:
            last = self._journal.light("SELECT max(seq) FROM snapshot WHERE case_id=?", (case_id,))[0][0]
            self._due[case_id] = int(last or 0) + EVERY
        if seq < self._due[case_id] or (self._writing is not None and not self._writing.done()):
            return False
        self._due[case_id] = seq + EVERY
        return True

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

    def close(self) -> None:
        """Wait for the snapshots that are being written."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
