"""The tables of a session's database, and how the tables of an earlier format become those of this one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from typing import Any

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.packing import Sql, checksum

VERSION = 2
APPLICATION = 0x6E627367
"""What SQLite's header says of the file's kind."""

SCHEMA = """
CREATE TABLE head(name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE "case"(id INTEGER PRIMARY KEY, case_id TEXT UNIQUE NOT NULL, hash TEXT UNIQUE NOT NULL, time TEXT NOT NULL, name TEXT NOT NULL,
    shape TEXT NOT NULL, geometry TEXT NOT NULL, times TEXT NOT NULL, modality TEXT NOT NULL, metadata TEXT NOT NULL,
    manifest TEXT NOT NULL, link TEXT, crc INTEGER NOT NULL);
CREATE TABLE edit(case_id TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, tool TEXT NOT NULL, box TEXT NOT NULL,
    voxels INTEGER NOT NULL, mask BLOB NOT NULL, new BLOB NOT NULL, old BLOB NOT NULL, base INTEGER NOT NULL, undoes INTEGER,
    crc INTEGER NOT NULL, PRIMARY KEY(case_id, seq));
CREATE TABLE snapshot(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, manifest TEXT NOT NULL,
    crc INTEGER NOT NULL, UNIQUE(case_id, seq));
CREATE TABLE mark(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, time TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL,
    seq INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE prediction(id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, model TEXT NOT NULL, time TEXT NOT NULL, details TEXT NOT NULL,
    arrays TEXT NOT NULL, manifest TEXT NOT NULL, seq INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE model(id INTEGER PRIMARY KEY, sha TEXT UNIQUE NOT NULL, parent TEXT, time TEXT NOT NULL, card TEXT NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE round(id INTEGER PRIMARY KEY, time TEXT NOT NULL, case_ids TEXT NOT NULL, parent TEXT, candidate TEXT,
    adopted INTEGER NOT NULL, reasons TEXT NOT NULL, figures TEXT NOT NULL, seqs TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE event(id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, details TEXT NOT NULL, crc INTEGER NOT NULL);
"""
TABLES = ("case", "edit", "snapshot", "mark", "prediction", "model", "round", "event")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the empty tables of this format."""
    connection.executescript(f"BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;")


def order(table: str) -> str:
    """Return the columns that put the rows of a table in their order."""
    return "case_id, seq" if table == "edit" else "id"


def named(table: str, row: sqlite3.Row) -> str:
    """Name a row for people."""
    return f"Edit {row['seq']} of {row['case_id']}" if table == "edit" else f"Entry {row['id']} of the table {table}"


def is_whole(table: str, row: sqlite3.Row) -> bool:
    """Tell whether a row's values are those that its checksum was made of, and of the kinds that the table declares.

    SQLite itself lets a text stand in a column of numbers.
    """
    kinds = _kinds()[table]
    fits = all(isinstance(row[name], kinds[name]) for name in row.keys())
    return fits and checksum(tuple(row)[:-1]) == row["crc"]


@lru_cache(maxsize=1)
def _kinds() -> dict[str, dict[str, tuple[type, ...]]]:
    """Return the types of the values of each column of each table."""
    types = {"TEXT": str, "INTEGER": int, "BLOB": bytes}
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        return {
            table: {
                name: (types[kind],) if required or key else (types[kind], type(None))
                for _, name, kind, required, _, key in connection.execute(f'PRAGMA table_info("{table}")')
            }
            for table in TABLES
        }


def insert(connection: sqlite3.Connection, table: str, row: dict[str, Sql], wrong: int = 0) -> None:
    """Write a row, given in the order of its columns without the checksum, which is made `wrong` in these bits."""
    names = ", ".join([*row, "crc"])
    marks = ", ".join("?" * (len(row) + 1))
    connection.execute(f'INSERT INTO "{table}"({names}) VALUES({marks})', [*row.values(), checksum(row.values()) ^ wrong])


def _before_format_2(schema: str) -> str:
    """Return the tables of format 1, which lacked two columns."""
    return schema.replace(" link TEXT,", "").replace("manifest TEXT NOT NULL, seq INTEGER NOT NULL, crc", "manifest TEXT NOT NULL, crc")


def migrate(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Copy a session of format 1 from `old` into the empty tables of `new`.

    Format 2 added where a linked case's images lie, at which edit each prediction was made (the last one that is no later), and the count
    of the edits of a case that has none yet.

    A damaged row comes along with a checksum that is as wrong as its own.

    Raises
    ------
    SessionError
        If its tables are not those of format 1.
    """
    old.row_factory = sqlite3.Row
    with closing(sqlite3.connect(":memory:")) as reference:
        reference.executescript(_before_format_2(SCHEMA))
        listing = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        if [tuple(row) for row in old.execute(listing)] != reference.execute(listing).fetchall():
            raise SessionError("The session has other tables than one of its format: it is damaged or foreign. Restore it from a backup.")
    new.execute("BEGIN")
    new.executemany("INSERT INTO head VALUES(?, ?, ?)", [tuple(row) for row in old.execute("SELECT name, value, crc FROM head")])
    for table in TABLES:
        for row in old.execute(f'SELECT * FROM "{table}" ORDER BY {order(table)}'):
            values: dict[str, Any] = {name: row[name] for name in row.keys() if name != "crc"}
            if table == "case":
                values["link"] = None
            if table == "prediction":
                found = old.execute("SELECT count(*) FROM edit WHERE case_id=? AND time<=?", (row["case_id"], row["time"])).fetchone()
                values["seq"] = found[0]
            wrong = checksum(tuple(row)[:-1]) ^ row["crc"] if isinstance(row["crc"], int) else 1
            insert(new, table, values, wrong)
    for (case_id,) in old.execute('SELECT case_id FROM "case"'):
        name = f"rows/edit/{case_id}"
        new.execute("INSERT OR IGNORE INTO head VALUES(?, '0', ?)", (name, checksum((name, "0"))))
    new.execute("COMMIT")
