"""Look through a whole session for damage: every row, every edit in its order, every file."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import BreastSegError
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session.annotations import UndoLine, replay
from napari_breastseg.session.disk.manifests import problems_with, read_manifest, strangers
from napari_breastseg.session.disk.packing import checksum
from napari_breastseg.session.disk.places import is_link
from napari_breastseg.session.disk.text import from_json
from napari_breastseg.session.journal import counter_of
from napari_breastseg.session.opening import DAMAGED_LOG, REPAIRED
from napari_breastseg.session.parts import Parts
from napari_breastseg.session.schema import TABLES, named


class Verifier:
    """One look through a session; `problems` holds a sentence for each thing that is wrong."""

    def __init__(self, parts: Parts) -> None:
        self._live = parts.journal
        self._root = parts.root
        self._parts = parts
        self._journal = parts.journal
        self.problems: list[str] = []

    def run(self) -> Job[list[str]]:
        """Check everything and return the problems, none of which is changed or repaired here."""
        checks = {
            "Checking the journal": (self._database, self._head, self._recoveries),
            "Checking the images": (self._links, self._arrays),
            "Checking the models": (self._weights,),
        }
        with self._live.frozen() as self._journal:
            self._parts = Parts.over(self._root, self._journal)
            for step, (message, group) in enumerate(checks.items()):
                yield Progress(step, len(checks), message)
                for check in group:
                    self._attempt(check)
        return list(dict.fromkeys(self.problems))

    def _attempt(self, check: Callable[[], None]) -> None:
        try:
            check()
        except BreastSegError as error:
            self.problems.append(str(error))

    def _database(self) -> None:
        for (line,) in self._journal.light("PRAGMA integrity_check"):
            if line != "ok":
                self.problems.append(f"The database is damaged: {line}.")
        for table in TABLES:
            self._attempt(partial(self._table, table))

    def _table(self, table: str) -> None:
        damaged: set[str] = set()
        found: Counter[str] = Counter()
        for row, whole in self._journal.rows_as_found(table):
            found[str(row["case_id"]) if table == "edit" else ""] += 1
            if not whole:
                self.problems.append(f"{named(table, row)} is damaged.")
                damaged.add(str(row["case_id"]) if table == "edit" else "")
        known = [row["case_id"] for row, whole in self._journal.rows_as_found("case") if whole] if table == "edit" else [""]
        for scope in sorted({*known, *found}):
            expected = int(self._journal.head(counter_of(table, scope)) or 0)
            if table == "edit" and self._journal.head(counter_of(table, scope)) is None:
                self.problems.append(f"It has vanished how many edits {scope} has.")
            elif found[scope] != expected:
                of = f" of {scope}" if scope else ""
                self.problems.append(f"The table {table} has {found[scope]} entries{of}, but {expected} were written.")
            elif table == "edit" and scope not in damaged:
                self._replayed(scope)

    def _replayed(self, case_id: str) -> None:
        """Replay a case from nothing: each edit must find the values that it replaced, each snapshot must equal the sum so far."""
        shape = self._parts.cases.shape(case_id)
        labels = np.full(shape, UNDECIDED, dtype=np.uint8)
        snapshots = {row["seq"]: row for row in self._journal.rows("snapshot", "case_id=?", (case_id,))}
        if 0 in snapshots:
            self._snapshot(case_id, snapshots[0], labels)
        line = UndoLine()
        for row in self._journal.rows("edit", "case_id=?", (case_id,)):
            line.follow(row["seq"], row["undoes"])
            if row["base"] != row["seq"] - 1 or not replay(row, labels, check=True):
                self.problems.append(f"{named('edit', row)} does not follow from the one before.")
                return
            if row["seq"] in snapshots:
                self._snapshot(case_id, snapshots[row["seq"]], labels)

    def _snapshot(self, case_id: str, row: sqlite3.Row, labels: npt.NDArray[np.uint8]) -> None:
        folder = self._parts.annotations.snapshots.folder(case_id, row["seq"])
        try:
            stored = self._parts.annotations.snapshots.read(row, self._parts.cases.shape(case_id))
        except BreastSegError as error:
            if self._still_there(row):
                self.problems.append(str(error))
            return
        if not np.array_equal(stored, labels):
            self.problems.append(f"{folder.relative_to(self._root).as_posix()} is not what the journal adds up to.")

    def _still_there(self, snapshot: sqlite3.Row) -> bool:
        """Tell whether a snapshot has not been thinned out while we looked."""
        return bool(self._live.light("SELECT 1 FROM snapshot WHERE case_id=? AND seq=?", (snapshot["case_id"], snapshot["seq"])))

    def _head(self) -> None:
        for name, value, crc in self._journal.light("SELECT name, value, crc FROM head"):
            if checksum((name, value)) != crc:
                self.problems.append(f"The entry {name} of the session is damaged.")

    def _recoveries(self) -> None:
        ((noted,),) = self._journal.light("SELECT coalesce(max(id), 0) FROM event WHERE kind=?", (REPAIRED,))
        for row in self._journal.rows("event", "kind=? AND id>?", (DAMAGED_LOG, noted)):
            kept = from_json(row["details"], "An event")["kept"]
            found = f"(found on {row['time']}); the files as they were are in {kept}."
            self.problems.append(f"The newest edits were damaged on the disk after a crash and could not be read {found}")

    def _links(self) -> None:
        for folder, folders, files in os.walk(self._root):
            for name in (*folders, *files):
                path = Path(folder, name)
                if is_link(path):
                    self.problems.append(f"{path.relative_to(self._root).as_posix()} leads out of the session.")

    def _arrays(self) -> None:
        for row, whole in self._journal.rows_as_found("case"):
            if whole:
                self.problems += [f"{problem}." for problem in self._parts.cases.problems(row)]
                if row["link"] is None:
                    self._extra(self._parts.cases.folder(row["case_id"]), row)
        snapshots = self._parts.annotations.snapshots
        for row, whole in self._journal.rows_as_found("snapshot"):
            if whole:
                self._folder(snapshots.folder(row["case_id"], row["seq"]), row, partial(self._still_there, row))
        for row, whole in self._journal.rows_as_found("prediction"):
            if whole:
                self._folder(self._parts.predictions.folder(row["id"]), row, lambda: True)

    def _folder(self, folder: Path, row: sqlite3.Row, needed: Callable[[], bool]) -> None:
        manifest = read_manifest(row["manifest"], folder.relative_to(self._root).as_posix())
        found = problems_with(self._root, folder, manifest)
        if not found or needed():
            self.problems += [f"{problem}." for problem in found]
            self._extra(folder, row)

    def _extra(self, folder: Path, row: sqlite3.Row) -> None:
        manifest = read_manifest(row["manifest"], folder.relative_to(self._root).as_posix())
        found = (path.relative_to(self._root).as_posix() for path in strangers(folder, manifest))
        self.problems += [f"{name} does not belong to the session." for name in found]

    def _weights(self) -> None:
        for row, whole in self._journal.rows_as_found("model"):
            if whole:
                found = (self._parts.models.problem(row["sha"]), self._parts.models.card_problem(row["sha"], row["card"]))
                self.problems += [f"{problem}." for problem in found if problem]
