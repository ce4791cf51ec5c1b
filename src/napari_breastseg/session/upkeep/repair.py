"""Mend what is damaged, as far as checksums, the journal and the snapshots still say what it was.

What cannot be mended stays as it is. What is replaced is kept in the folder ``damaged``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import BreastSegError, SessionError
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session.annotations import UndoLine, replay
from napari_breastseg.session.disk.durable import aside, in_words, make_folder, publish, settle
from napari_breastseg.session.disk.manifests import Manifest, problem_with, problems_with, read_manifest, strangers
from napari_breastseg.session.disk.packing import checksum
from napari_breastseg.session.disk.places import DAMAGED, DATABASE, is_link
from napari_breastseg.session.disk.text import from_json, to_json, understood
from napari_breastseg.session.journal import counter_of
from napari_breastseg.session.models import CURRENT
from napari_breastseg.session.opening import DAMAGED_LOG, REPAIRED
from napari_breastseg.session.parts import Parts
from napari_breastseg.session.schema import TABLES, insert, is_whole, named
from napari_breastseg.session.upkeep.mend_files import mended_file
from napari_breastseg.session.upkeep.mend_rows import from_around, with_one_bit


class Repair:
    """One pass over a session that is open for writing; `said` holds a sentence for each thing that was mended,
    `refused` why a part could not be finished.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._root = parts.root
        self._journal = parts.journal
        self._kept = parts.root / DAMAGED / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        self.said: list[str] = []
        self.refused: list[str] = []

    def run(self) -> Job[list[str]]:
        """Mend the database first, then the files that it names, then the label snapshots, which only sum up the journal."""
        self._journal.writable()
        for step, (message, mend) in enumerate(
            (
                ("Checking the journal", self._database),
                ("Checking the files", self._files),
                ("Checking the label snapshots", self._snapshots),
            )
        ):
            yield Progress(step, 3, message)
            with self._journal.lock:
                try:
                    with in_words("The repair", "finished"):
                        mend()
                except BreastSegError as error:
                    self.refused.append(str(error))
        if self.said:
            with self._journal.transaction("The repair"):
                self._journal.event(REPAIRED, {"what": self.said})
        self._parts.annotations.forget()
        return [*self.said, *(f"Not finished: {sentence}" for sentence in self.refused)]

    # The database

    def _database(self) -> None:
        sound = [line for (line,) in self._journal.light("PRAGMA integrity_check")] == ["ok"]
        tables = {table: self._journal.table(table) for table in TABLES}
        damaged = [(table, row) for table, rows in tables.items() for row in rows if not is_whole(table, row)]
        entries, heads_mended = self._heads(tables)
        if sound and not damaged and not heads_mended:
            return
        make_folder(self._kept)
        self._journal.copy_to(self._kept / DATABASE)
        said: list[str] = []
        mended = {(table, _key(table, row)): values for table, row in damaged if (values := self._mended_row(table, row, tables, said))}
        forgotten = [row for table, row in damaged if table == "snapshot" and (table, _key(table, row)) not in mended]
        if forgotten:
            said.append("A label snapshot that cannot be identified any more was forgotten; the journal has all that was in it.")
            tables["snapshot"] = [row for row in tables["snapshot"] if row not in forgotten]
            entries[counter_of("snapshot")] = to_json(len(tables["snapshot"]), "The count of snapshots")

        def fill(new: sqlite3.Connection) -> None:
            new.execute("BEGIN")
            new.executemany("INSERT INTO head VALUES(?, ?, ?)", [(name, text, checksum((name, text))) for name, text in entries.items()])
            for table, rows in tables.items():
                for number, row in enumerate(rows, 1):
                    values = mended.get((table, _key(table, row)))
                    if values is None and not is_whole(table, row):
                        _insert_as_found(new, table, row)
                        continue
                    values = values or {name: row[name] for name in row.keys() if name != "crc"}
                    insert(new, table, values | {"id": number} if table == "snapshot" else values)
            new.execute("COMMIT")

        self._journal.rewrite(fill)
        self.said += [*said, *([] if sound else ["The database was written anew."]), *heads_mended]

    def _mended_row(self, table: str, row: sqlite3.Row, tables: dict[str, list[sqlite3.Row]], said: list[str]) -> dict[str, Any] | None:
        values = with_one_bit(table, row)
        if values is not None:
            said.append(f"{named(table, row)} was mended: one bit had flipped.")
            return values
        if table != "edit":
            return None
        try:
            with understood(named(table, row)):
                values = self._bridged(row, tables)
        except BreastSegError:
            return None
        if values is not None:
            said.append(f"{named(table, row)} was restored from the edits and the label snapshots around it.")
        return values

    def _bridged(self, row: sqlite3.Row, tables: dict[str, list[sqlite3.Row]]) -> dict[str, Any] | None:
        """Restore a damaged edit from a later snapshot, if all the others up to there are whole."""
        edits = {other["seq"]: other for other in tables["edit"] if other["case_id"] == row["case_id"]}
        shape = self._parts.cases.shape(row["case_id"])
        seq = row["seq"]
        snapshots = {
            other["seq"]: other for other in tables["snapshot"] if other["case_id"] == row["case_id"] and is_whole("snapshot", other)
        }
        starts = [other for other in sorted(snapshots, reverse=True) if other < seq]
        before = next(
            (found for start in [*starts, 0] if (found := self._replayed(edits, snapshots.get(start), start, seq - 1, shape)) is not None),
            None,
        )
        for end in sorted(other for other in snapshots if other >= seq):
            later = self._labels(snapshots[end], shape)
            between = [edits.get(n) for n in range(seq + 1, end + 1)]
            if before is not None and later is not None and all(edit is not None and is_whole("edit", edit) for edit in between):
                return from_around(row, before, later, [edit for edit in between if edit is not None], _undoable(edits, seq))
        return None

    def _replayed(
        self, edits: dict[int, sqlite3.Row], snapshot: sqlite3.Row | None, start: int, end: int, shape: tuple[int, int, int]
    ) -> npt.NDArray[np.uint8] | None:
        labels = np.full(shape, UNDECIDED, np.uint8) if snapshot is None else self._labels(snapshot, shape)
        steps = [edits.get(n) for n in range(start + 1, end + 1)]
        if labels is None or any(step is None or not is_whole("edit", step) for step in steps):
            return None
        return labels if all(replay(step, labels, check=True) for step in steps if step is not None) else None

    def _labels(self, snapshot: sqlite3.Row, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8] | None:
        try:
            return self._parts.annotations.snapshots.read(snapshot, shape)
        except SessionError:
            return None

    def _heads(self, tables: dict[str, list[sqlite3.Row]]) -> tuple[dict[str, str], list[str]]:
        """Return the entries of ``head`` with those that were damaged counted anew or chosen again, and what was mended."""
        entries: dict[str, str] = {}
        lost: list[str] = []
        for name, text, crc in self._journal.light("SELECT name, value, crc FROM head NOT INDEXED"):
            if checksum((name, text)) == crc:
                entries[name] = text
            else:
                lost.append(str(name))
        if not lost:
            return entries, []
        for name, count in self._counts(tables).items():
            entries.setdefault(name, to_json(count, name))
        chosen = [row for row in tables["event"] if row["kind"] == CURRENT and is_whole("event", row)]
        if CURRENT not in entries and chosen:
            entries[CURRENT] = to_json(from_json(chosen[-1]["details"], "An event")["sha"], CURRENT)
        return entries, [f"The entry {name} of the session was {'mended' if name in entries else 'dropped'}." for name in lost]

    def _counts(self, tables: dict[str, list[sqlite3.Row]]) -> dict[str, int]:
        counts = {counter_of(table): 0 for table in TABLES if table != "edit"}
        counts |= {counter_of("edit", row["case_id"]): 0 for row in tables["case"] if is_whole("case", row)}
        for table, rows in tables.items():
            for row in rows:
                counter = counter_of(table, row["case_id"] if table == "edit" else "")
                counts[counter] = counts.get(counter, 0) + 1
        return counts

    # Files

    def _files(self) -> None:
        for folder, manifest in self._folders():
            for name, entry in manifest.items():
                self._file(folder, name, entry)
            for path in strangers(folder, manifest):
                self._keep(path)
                self.said.append(f"{self._shown(path)} did not belong to the session and was put aside.")
        for row in self._whole_rows("model"):
            if self._parts.models.card_problem(row["sha"], row["card"]):
                path = self._parts.models.file(row["sha"]).with_suffix(".json")
                self._keep(path, copy=True)
                self._write(path, row["card"].encode())
                self.said.append(f"{self._shown(path)} was written anew from the journal.")
        if self._open_losses():
            self.said.append("The edits that a crash and a damaged log took cannot be brought back; this is noted.")

    def _file(self, folder: Path, name: str, entry: list[Any]) -> None:
        path = folder / name
        if problem_with(self._root, folder, name, entry, whole=True) is None or is_link(path) or not path.is_file():
            return
        found = mended_file(path.read_bytes(), *entry)
        if found is not None:
            self._keep(path, copy=True)
            self._write(path, found)
            self.said.append(f"{self._shown(path)} was mended: one bit had flipped.")

    def _folders(self) -> Iterator[tuple[Path, Manifest]]:
        for row in self._whole_rows("case"):
            if row["link"] is None:
                yield self._parts.cases.folder(row["case_id"]), read_manifest(row["manifest"], row["case_id"])
        for row in self._whole_rows("prediction"):
            yield self._parts.predictions.folder(row["id"]), read_manifest(row["manifest"], "A prediction")

    def _whole_rows(self, table: str) -> list[sqlite3.Row]:
        return [row for row, whole in self._journal.rows_as_found(table) if whole]

    def _open_losses(self) -> bool:
        kinds = [row["kind"] for row in self._whole_rows("event") if row["kind"] in (DAMAGED_LOG, REPAIRED)]
        return bool(kinds) and kinds[-1] == DAMAGED_LOG

    # Snapshots

    def _snapshots(self) -> None:
        for case_id in self._parts.cases.ids():
            with understood(f"The history of {case_id}"):
                self._snapshots_of(case_id)

    def _snapshots_of(self, case_id: str) -> None:
        """Replay all edits and write those snapshots anew that are not what they add up to."""
        shape = self._parts.cases.shape(case_id)
        rows = {row["seq"]: row for row in self._journal.rows("snapshot", "case_id=?", (case_id,))}
        if not rows:
            return
        labels, seq = np.full(shape, UNDECIDED, np.uint8), 0
        self._snapshot(case_id, rows.get(0), labels)
        for edit, whole in self._journal.rows_as_found("edit", "case_id=?", (case_id,)):
            if not whole or edit["seq"] != seq + 1 or not replay(edit, labels, check=True):
                return
            seq += 1
            self._snapshot(case_id, rows.get(seq), labels)

    def _snapshot(self, case_id: str, row: sqlite3.Row | None, labels: npt.NDArray[np.uint8]) -> None:
        if row is None:
            return
        folder = self._parts.annotations.snapshots.folder(case_id, row["seq"])
        manifest = read_manifest(row["manifest"], "A label snapshot")
        problems = [*problems_with(self._root, folder, manifest), *strangers(folder, manifest)]
        stored = None if problems else self._labels(row, self._parts.cases.shape(case_id))
        if stored is None or not np.array_equal(stored, labels):
            self._keep(folder)
            self._parts.annotations.snapshots.rewrite(row, labels)
            self.said.append(f"{self._shown(folder)} was written anew from the journal.")

    # Damaged files

    def _keep(self, path: Path, *, copy: bool = False) -> None:
        """Move what is damaged to the folder ``damaged``, or copy it there."""
        target = self._kept / self._shown(path)
        if not (path.exists() or is_link(path)):
            return
        make_folder(target.parent)
        if copy and path.is_file() and not is_link(path):
            self._write(target, path.read_bytes())
        else:
            path.replace(target)

    def _write(self, path: Path, data: bytes) -> None:
        with aside(path.parent) as temporary:
            temporary.write_bytes(data)
            settle(temporary)
            publish(temporary, path)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _undoable(edits: dict[int, sqlite3.Row], seq: int) -> list[int]:
    """Return the edits that the edit `seq` could have undone or redone."""
    line = UndoLine()
    try:
        for n in range(1, seq):
            line.follow(n, edits[n]["undoes"])
    except SessionError:
        return []
    return [*line.undo[-1:], *line.redo[-1:]]


def _key(table: str, row: sqlite3.Row) -> tuple[Any, ...]:
    return (row["case_id"], row["seq"]) if table == "edit" else (row["id"],)


def _insert_as_found(new: sqlite3.Connection, table: str, row: sqlite3.Row) -> None:
    """Keep a row that cannot be mended, with the checksum that says so."""
    names = row.keys()
    new.execute(f'INSERT INTO "{table}"({", ".join(names)}) VALUES({", ".join("?" * len(names))})', tuple(row))
