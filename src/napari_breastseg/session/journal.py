"""The SQLite file of a session: the only authority for edits, versions, lineage and what is current.

WAL with ``synchronous=FULL``: a transaction that has returned survives kills, crashes and power cuts. Rows are only ever appended, each
with a CRC-32 of its values; a counter per table (and per case for edits) in ``head`` tells whether rows have vanished.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.durable import aside, fsync_file, fsync_folder, in_words
from napari_breastseg.session.disk.packing import Sql, checksum
from napari_breastseg.session.disk.places import DATABASE, check_plain, on_network
from napari_breastseg.session.disk.text import from_json, to_json
from napari_breastseg.session.schema import APPLICATION, SCHEMA, TABLES, VERSION, create_tables, insert, is_whole, migrate, named, order

_PATIENCE = 10_000
"""Milliseconds to wait for another program that writes."""
REPAIR = "Run `napari-breastseg session repair`, or restore the session from a backup."
_WRITING = ("synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON", "journal_size_limit=16777216")


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the microsecond, so that what follows each other is seldom at the same time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


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
        self._looked_at: dict[str, int] = {}
        with in_words(f"The session {folder}", "opened"):
            self._open()

    def _open(self) -> None:
        self._connection = connect(self._path, self.read_only)
        try:
            if self.read_only and version_of(self._connection, self._path) < VERSION:
                self._connection = _in_memory(self._connection)
            self._check()
            if not self.read_only:
                # The write-ahead log needs memory that processes share, which network folders do not give.
                mode = "DELETE" if on_network(self._path.parent) else "WAL"
                for setting in (f"journal_mode={mode}", *_WRITING):
                    self._connection.execute(f"PRAGMA {setting}")
        except BaseException:
            self._connection.close()
            raise

    @staticmethod
    def create(folder: Path) -> None:
        """Write an empty database into `folder`; it appears whole or not at all."""
        with in_words(f"The session {folder}"), aside(folder) as path:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                create_tables(connection)
            fsync_file(path)
            os.replace(path, folder / DATABASE)
            fsync_folder(folder)

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        with self.lock, in_words("The session", "closed"):
            try:
                self._fold()
            finally:
                self._connection.close()

    def _fold(self) -> None:
        """Fold the write-ahead log into the database, unless somebody reads just now: then it is left to whoever comes next."""
        if not self.read_only:
            self._connection.execute("PRAGMA busy_timeout=0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.execute(f"PRAGMA busy_timeout={_PATIENCE}")

    def rewrite(self, fill: Callable[[sqlite3.Connection], None]) -> None:
        """Put the rows that `fill` writes in the place of all that is here, in one transaction; if that fails, all stays as it is.

        The new database is copied into this one page by page, never put in its place as a file: a log that a reader holds on to would then
        be laid over it.

        Raises
        ------
        SessionError
            If the session is open for reading only or the disk refuses.
        """
        with self.lock, in_words("The session"):
            self.writable()
            overwrite(self._connection, self._path.parent, fill)
            self._looked_at.clear()

    def copy_to(self, path: Path) -> None:
        """Write the database as it is now, its log included, to a new file."""
        with self.lock, in_words("A copy of the journal"), closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    @contextmanager
    def frozen(self) -> Iterator[Journal]:
        """Give a journal that shows this state while others go on writing; without a write-ahead log, which alone allows that, this one."""
        ((mode,),) = self.light("PRAGMA journal_mode")
        if mode != "wal":
            yield self
            return
        journal = Journal(self._path.parent, read_only=True)
        try:
            journal.light("BEGIN")
            journal.light("SELECT count(*) FROM head")  # a transaction sees what is there when it first reads
            yield journal
        finally:
            journal.close()

    def compact(self) -> None:
        """Give the room that no row takes any more back to the disk."""
        with self.lock, in_words("The session", "compacted"):
            self.writable()
            self._connection.execute("VACUUM")
            self._fold()

    def table(self, table: str) -> list[sqlite3.Row]:
        """Return the rows of a table as they lie in it, whatever its index says."""
        with self.lock, in_words("The session", "read"):
            return self._connection.execute(f'SELECT * FROM "{table}" NOT INDEXED ORDER BY rowid').fetchall()

    def _check(self) -> None:
        version_of(self._connection, self._path)
        reference = sqlite3.connect(":memory:")
        reference.executescript(SCHEMA)
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
        before = self.head(counter)
        if before is None and self._has_rows(table, scope):
            raise SessionError(f"It has vanished how many entries the table {table} has. {REPAIR}")
        number = int(before or 0) + 1
        row: dict[str, Sql] = {**values, "seq" if table == "edit" else "id": number}
        insert(self._connection, table, {name: row[name] for name in self._columns[table] if name != "crc"})
        self.set_head(counter, number)
        return number

    def _has_rows(self, table: str, scope: str) -> bool:
        where, parameters = (" WHERE case_id=?", (scope,)) if scope else ("", ())
        return bool(self.light(f'SELECT 1 FROM "{table}" NOT INDEXED{where} LIMIT 1', parameters))

    def amend(self, table: str, row: sqlite3.Row, **changes: Sql) -> None:
        """Write a row anew inside a transaction with other values in some columns: for what was mended, never for what the person said."""
        keys = [name.strip() for name in order(table).split(",")]
        where = " AND ".join(f"{key}=?" for key in keys)
        self._connection.execute(f'DELETE FROM "{table}" WHERE {where}', [row[key] for key in keys])
        insert(self._connection, table, {name: changes.get(name, row[name]) for name in self._columns[table] if name != "crc"})

    def replace_all(self, table: str, rows: Sequence[sqlite3.Row]) -> None:
        """Leave only `rows` in a table, numbered anew, inside a transaction."""
        self._connection.execute(f'DELETE FROM "{table}"')
        for number, row in enumerate(rows, 1):
            insert(self._connection, table, {**{name: row[name] for name in row.keys() if name != "crc"}, "id": number})
        self.set_head(counter_of(table), len(rows))

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
        self._look_at(table)
        return [_whole(table, found) for found in self.rows_as_found(table, where, parameters)]

    def _look_at(self, table: str) -> None:
        """Check a whole table but that of the edits, once: a row whose key is damaged would else be missed, not found damaged.

        Our own writing keeps it sound; after another process wrote it is looked at again.
        """
        if table == "edit":
            return
        with self.lock:
            ((version,),) = self.light("PRAGMA data_version")
            if self._looked_at.get(table) == version:
                return
            rows = self.table(table)
            for row in rows:
                _whole(table, (row, is_whole(table, row)))
            if len(rows) != int(self.head(counter_of(table)) or 0):
                raise SessionError(f"Entries of the table {table} have vanished. {REPAIR}")
            self._looked_at[table] = version

    def rows_as_found(self, table: str, where: str = "1", parameters: tuple[Sql, ...] = ()) -> list[tuple[sqlite3.Row, bool]]:
        """Return rows in their order and whether their checksums are right."""
        with self.lock, in_words("The session", "read"):
            found = self._connection.execute(f'SELECT * FROM "{table}" WHERE {where} ORDER BY {order(table)}', parameters).fetchall()
        return [(row, is_whole(table, row)) for row in found]

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
            raise SessionError(f"The entry {name} of the session is damaged. {REPAIR}")
        return from_json(row["value"], f"The entry {name} of the session")

    def set_head(self, name: str, value: object) -> None:
        """Set a current value inside a transaction."""
        text = to_json(value, name)
        self._connection.execute("INSERT OR REPLACE INTO head VALUES(?, ?, ?)", (name, text, checksum((name, text))))


def _whole(table: str, found: tuple[sqlite3.Row, bool]) -> sqlite3.Row:
    row, whole = found
    if not whole:
        raise SessionError(f"{named(table, row)} is damaged. {REPAIR}")
    return row


def counter_of(table: str, scope: str = "") -> str:
    """Name the entry of ``head`` that counts the rows of a table."""
    return f"rows/{table}/{scope}" if scope else f"rows/{table}"


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Open the database file `path`, no part of which may be a link: SQLite would write through it."""
    if not path.is_file() or path.is_symlink():
        raise SessionError(f"{path.parent} holds no session. Create one there, or choose another folder.")
    for ending in ("", "-wal", "-shm", "-journal"):
        check_plain(path.with_name(path.name + ending))
    address = f"file:{quote(os.fspath(path.absolute()))}?mode={'ro' if read_only else 'rw'}"
    if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        address += "&immutable=1"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE / 1000)
    try:
        connection.row_factory = sqlite3.Row
        connection.text_factory = _text
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _text(data: bytes) -> str:
    """Return a text as it is stored; one that is damaged is found by its row's checksum, not by an error of the whole query."""
    return data.decode("utf-8", "surrogateescape")


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of a session's database.

    Raises
    ------
    SessionError
        If it is none, or of a newer format than this one.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise SessionError(f"{path} was not made by napari-breastseg. Choose another folder.")
    if version > VERSION:
        raise SessionError(f"{path} was made by a newer napari-breastseg (format {version}). Update this one to open it.")
    return version


def overwrite(connection: sqlite3.Connection, folder: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Write a database aside in `folder`, have `fill` write its rows, and copy it over the one that is open, in one transaction."""
    with aside(folder) as path, closing(sqlite3.connect(path, isolation_level=None)) as new:
        create_tables(new)
        fill(new)
        new.backup(connection)


def _in_memory(old: sqlite3.Connection) -> sqlite3.Connection:
    """Return a session of an older format as one of this format that lasts as long as the connection; the file stays as it is."""
    new = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        new.row_factory = sqlite3.Row
        create_tables(new)
        migrate(old, new)
    finally:
        old.close()
    return new
