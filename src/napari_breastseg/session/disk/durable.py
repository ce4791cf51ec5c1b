"""Files that are either wholly there after a power cut or not there at all, and disk errors told in words.

A folder is written aside as ``.tmp-*``, every file and folder in it is fsynced, then it is renamed and its parent fsynced. A rename
without the fsyncs survives a crash of the process but not of the machine.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_breastseg.errors import SessionError

TEMPORARY = ".tmp-"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def in_words(what: str, verb: str = "saved") -> Iterator[None]:
    """Turn errors of the disk, of SQLite and of texts into a :class:`SessionError`: what happened to `what`, and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise SessionError(_sqlite_in_words(what, verb, error)) from error
    except OSError as error:
        raise SessionError(_os_in_words(what, verb, error)) from error
    except UnicodeDecodeError as error:
        raise SessionError(f"{what} could not be {verb}: the session's database is damaged. Restore it from a backup.") from error
    except UnicodeEncodeError as error:
        raise SessionError(f"{what} could not be {verb}: a name in it holds characters that are no text. Rename it.") from error


def _os_in_words(what: str, verb: str, error: OSError) -> str:
    if error.errno in _FULL:
        return _full(what, verb)
    if error.errno in _DENIED:
        return f"{what} could not be {verb}: permission was denied. Make the session's folder accessible and try again."
    return f"{what} could not be {verb}: {error.strerror or error}. Check the disk and the session's folder, then try again."


def _sqlite_in_words(what: str, verb: str, error: sqlite3.Error) -> str:
    text = str(error)
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
        return f"{what} could not be {verb}: the session has been closed. Open it again."
    if "full" in text:
        return _full(what, verb)
    if "readonly" in text:
        return f"{what} could not be {verb}: the session's database is write-protected. Change its permissions or open it for reading only."
    if "locked" in text:
        return f"{what} could not be {verb}: another program is writing to the session's database. Close it and try again."
    if isinstance(error, sqlite3.OperationalError) and ("disk I/O" in text or "unable to open" in text):
        return (
            f"{what} could not be {verb}: the disk reported an error ({text}). What was saved before is intact; "
            "check the disk and its free space, then try again."
        )
    return (
        f"{what} could not be {verb}: the session's database is damaged or foreign ({text}). Run `napari-breastseg verify` on the session."
    )


def _full(what: str, verb: str) -> str:
    return f"{what} could not be {verb}: the disk is full. What was saved before is intact; free some space and try again."


def fsync_file(path: Path) -> None:
    """Have the disk keep the content of the file `path` (F_FULLFSYNC on macOS, where a plain fsync stops at the drive's cache)."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Have the disk keep the names in the folder `path`; Windows needs and allows no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    try:
        import fcntl

        full = getattr(fcntl, "F_FULLFSYNC", None)
    except ImportError:
        full = None
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it that are missing, so that their names survive a power cut too."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync_folder(folder.parent)


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Give a fresh temporary path in `folder`; whatever still lies there at the end is removed (:func:`publish` moves it away before)."""
    make_folder(folder)
    path = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        remove(path)


def publish(temporary: Path, target: Path) -> None:
    """Move what was written aside to its final name so that it is there whole after a power cut, or not at all.

    A folder must have gone through :func:`settle` before, so that the slow flushes need no lock; leftovers at `target` are replaced.
    """
    if target.is_dir() and not target.is_symlink():
        remove(target)
    os.replace(temporary, target)
    fsync_folder(target.parent)


def settle(path: Path) -> None:
    """Flush the file `path`, or every file and folder under the folder `path`, to the disk."""
    if path.is_file():
        fsync_file(path)
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            fsync_file(Path(folder, name))
        fsync_folder(Path(folder))


def remove(path: Path) -> None:
    """Remove a file or folder of ours if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folders: list[Path]) -> None:
    """Remove what interrupted writes left aside in `folders`."""
    for folder in folders:
        for leftover in folder.glob(f"{TEMPORARY}*") if folder.is_dir() else ():
            remove(leftover)
