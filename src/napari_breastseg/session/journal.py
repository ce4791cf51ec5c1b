"""The SQLite file of a session: the only authority for edits, versions, lineage and what is current.

WAL with ``synchronous=FULL``: a transaction that has returned survives kills, crashes and power cuts. Rows are only ever appended, each
with a CRC-32 of its values; a counter per table (and per case for edits) in ``head`` tells whether rows have vanished.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_breastseg.errors import SessionError
from napari_breastseg.session.durable import aside, fsync_file, fsync_folder, in_words, to_json
from napari_breastseg.session.packing import Sql, checksum

DATABASE = "session.sqlite"
VERSION = 1
_APPLICATION = 0x6E627367
_WRITING = ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON", "journal_size_limit=16777216")

_SCHEMA = """
CREATE TABLE head(name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE "case"(id INTEGER PRIMARY KEY, case_id TEXT UNIQUE NOT NULL, hash TEXT UNIQUE NOT NULL, time TEXT NOT NULL, name TEXT NOT NULL,
    shape TEXT NOT NULL, geometry TEXT NOT NULL, times TEXT NOT NULL, modality TEXT NOT NULL, metadata TEXT NOT NULL,
    manifest TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE edit(case_id TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, tool TEXT NOT NULL, box TEXT NOT NULL,
    voxels INTEGER NOT NULL, mask BLOB NOT NULL, new BLOB NOT NULL, old BLOB NOT NULL, base INTEGER NOT NULL, undoes INTEGER,
    crc INTEGER NOT NULL, PRIMARY KEY(case_id, seq));
CREATE TABLE snapshot(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, manifest TEXT NOT NULL,
    crc INTEGER NOT NULL, UNIQUE(case_id, seq));
CREATE TABLE mark(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, time TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL,
    seq INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE prediction(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, model TEXT NOT NULL, time TEXT NOT NULL, details TEXT NOT NULL,
    arrays TEXT NOT NULL, manifest TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE model(id INTEGER PRIMARY KEY, sha TEXT UNIQUE NOT NULL, parent TEXT, time TEXT NOT NULL, card TEXT NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE round(id INTEGER PRIMARY KEY, time TEXT NOT NULL, case_ids TEXT NOT NULL, parent TEXT, candidate TEXT,
    adopted INTEGER NOT NULL, reasons TEXT NOT NULL, figures TEXT NOT NULL, seqs TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE event(id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, details TEXT NOT NULL, crc INTEGER NOT NULL);
"""
TABLES = ("case", "edit", "snapshot", "mark", "prediction", "model", "round", "event")


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Journal:
    """The open database of a session. All its methods take `lock`, and callers hold it across several when they must belong together.

    Raises
    ------
    SessionError
        If the file is missing, damaged, foreign, or of a newer version.
    """

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self.lock = threading.RLock()
        self.read_only = read_only
        self._path = folder / DATABASE
        self._columns: dict[str, list[str]] = {}
        with in_words(f"The session {folder}", "opened"):
            self._connection = _connect(self._path, read_only)
            try:
                self._check()
                if not read_only:
                    for setting in _WRITING:
                        self._connection.execute(f"PRAGMA {setting}")
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def create(folder: Path) -> None:
        """Write an empty database into `folder`; it appears whole or not at all."""
        with in_words(f"The session {folder}"), aside(folder) as path:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id={_APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;")
            finally:
                connection.close()
            fsync_file(path)
            os.replace(path, folder / DATABASE)
            fsync_folder(folder)

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        with self.lock, in_words("The session", "closed"):
            try:
                if not self.read_only:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._connection.close()

    def _check(self) -> None:
        found = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found != _APPLICATION:
            raise SessionError(f"{self._path} was not made by napari-breastseg. Choose another folder.")
        if version > VERSION:
            raise SessionError(f"{self._path} was made by a newer napari-breastseg (format {version}). Update this one to open it.")
        reference = sqlite3.connect(":memory:")
        reference.executescript(_SCHEMA)
        listing = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        expected = reference.execute(listing).fetchall()
        reference.close()
        if self.light(listing) != expected:
            raise SessionError(f"{self._path} has other tables than a session: it is damaged or foreign. Restore it from a backup.")
        for name in TABLES:
            self._columns[name] = [row[1] for row in self._connection.execute(f'PRAGMA table_info("{name}")')]

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """Hold the lock and one transaction: all rows appended inside are durable when it ends, or none is there.

        Parameters
        ----------
        what : str
            What is being saved, with a capital, for the message when it fails.

        Raises
        ------
        SessionError
            If the session is open for reading only or the disk refuses.
        """
        with self.lock:
            self.writable()
            with in_words(what):
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise

    def writable(self) -> None:
        """Raise a SessionError if the session is open for reading only."""
        if self.read_only:
            raise SessionError("The session is open for reading only. Open it for writing to change it.")

    def append(self, table: str, scope: str = "", **values: Sql) -> int:
        """Append a row inside a transaction and return its number: 1, 2, ... within the table, or within `scope` (a case) for edits."""
        counter = counter_of(table, scope)
        number = int(self.head(counter) or 0) + 1
        row: dict[str, Sql] = {**values, "seq" if table == "edit" else "id": number}
        columns = [name for name in self._columns[table] if name != "crc"]
        ordered = [row[name] for name in columns]
        names = ", ".join([*columns, "crc"])
        marks = ", ".join("?" * (len(columns) + 1))
        self._connection.execute(f'INSERT INTO "{table}"({names}) VALUES({marks})', [*ordered, checksum(ordered)])
        self.set_head(counter, number)
        return number

    def event(self, kind: str, details: dict[str, Any]) -> None:
        """Append an event inside a transaction."""
        self.append("event", time=now(), kind=kind, details=to_json(details, "The event"))

    def rows(self, table: str, where: str = "1", parameters: tuple[Sql, ...] = ()) -> list[sqlite3.Row]:
        """Return whole rows in their order, each checked against its checksum.

        Raises
        ------
        SessionError
            If one of them is damaged.
        """
        found = self.rows_as_found(table, where, parameters)
        for row, whole in found:
            if not whole:
                raise SessionError(
                    f"{named(table, row)} is damaged. Restore the session from a backup; `napari-breastseg verify` lists more."
                )
        return [row for row, _ in found]

    def rows_as_found(self, table: str, where: str = "1", parameters: tuple[Sql, ...] = ()) -> list[tuple[sqlite3.Row, bool]]:
        """Return rows in their order and whether their checksums are right."""
        key = "case_id, seq" if table == "edit" else "id"
        with self.lock, in_words("The session", "read"):
            found = self._connection.execute(f'SELECT * FROM "{table}" WHERE {where} ORDER BY {key}', parameters).fetchall()
        return [(row, checksum(tuple(row)[:-1]) == row["crc"]) for row in found]

    def light(self, query: str, parameters: tuple[Sql, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the result of a query that reads no whole rows."""
        with self.lock, in_words("The session", "read"):
            return [tuple(row) for row in self._connection.execute(query, parameters)]

    def head(self, name: str) -> Any:
        """Return a current value, or None if it was never set."""
        with self.lock, in_words("The session", "read"):
            row = self._connection.execute("SELECT name, value, crc FROM head WHERE name=?", (name,)).fetchone()
        if row is None:
            return None
        if checksum((row["name"], row["value"])) != row["crc"]:
            raise SessionError(f"The entry {name} of the session is damaged. Restore the session from a backup.")
        return json.loads(row["value"])

    def set_head(self, name: str, value: object) -> None:
        """Set a current value inside a transaction."""
        text = to_json(value, name)
        self._connection.execute("INSERT OR REPLACE INTO head VALUES(?, ?, ?)", (name, text, checksum((name, text))))


def counter_of(table: str, scope: str = "") -> str:
    """Name the entry of ``head`` that counts the rows of a table."""
    return f"rows/{table}/{scope}" if scope else f"rows/{table}"


def named(table: str, row: sqlite3.Row) -> str:
    """Name a row for people."""
    return f"Edit {row['seq']} of {row['case_id']}" if table == "edit" else f"Entry {row['id']} of the table {table}"


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    if not path.is_file() or path.is_symlink():
        raise SessionError(f"{path.parent} holds no session. Create one there, or choose another folder.")
    address = f"file:{quote(os.fspath(path.absolute()))}?mode={'ro' if read_only else 'rw'}"
    if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        address += "&immutable=1"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
    except BaseException:
        connection.close()
        raise
    return connection
