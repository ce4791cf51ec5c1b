"""One writer per session: a lock of the operating system that ends with its process, and a text that tells others who holds it."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_breastseg.errors import SessionLockedError
from napari_breastseg.session.disk.places import LOCK

_FAR = 1 << 30
"""Windows locks bytes and then nobody may read them: this one lies far behind the owner's text."""


class SessionLock:
    """The right to write to a session, held until :meth:`release` or the end of the process.

    Attributes
    ----------
    left_behind : dict or None
        The owner who held the lock before and never gave it back (a crash or a kill), as :func:`owner` returns it.

    Raises
    ------
    SessionLockedError
        If another process, or another Session of this one, holds it.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        if not _try_lock(self._descriptor):
            os.close(self._descriptor)
            raise SessionLockedError(_told(folder, owner(folder)))
        self.left_behind = owner(folder)
        try:
            self._write(json.dumps(_me()).encode())
        except OSError:
            self._let_go()
            raise

    def release(self) -> None:
        """Give the lock back, so that the next opener knows that nothing was interrupted."""
        try:
            self._write(b"")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        _unlock(self._descriptor)
        os.close(self._descriptor)

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, text)


def owner(folder: Path) -> dict[str, Any] | None:
    """Return ``{"pid", "host", "started"}`` as written in the lock file of the session `folder`, or None if there is no such text."""
    try:
        with (folder / LOCK).open("rb") as file:
            text = json.loads(file.read(4096))
    except (FileNotFoundError, RecursionError, ValueError):
        return None
    return text if isinstance(text, dict) else None


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": datetime.now(UTC).isoformat(timespec="seconds")}


def _told(folder: Path, holder: dict[str, Any] | None) -> str:
    who = f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('started')})" if holder else "another process"
    return f"The session {folder} is open in {who}. Close it there, or open it here for reading only."


if os.name == "nt":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
