"""Where a learning round works inside its session, so that a round that was killed or cancelled goes on where it stood."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_breastseg.errors import SessionError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.session import Session
from napari_breastseg.session.disk.places import WORK, is_plain

_SETTINGS, _CASES = "settings.json", "cases.json"
_STATE = ".state"


@contextmanager
def workplace(session: Session, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Give a learning round its folder; what an earlier round with the same settings reached is still there.

    After a round that ended nothing stays; after one that did not, its state.

    Parameters
    ----------
    session : Session
    settings : mapping
        All that the round depends on, JSON-ready.

    Raises
    ------
    SessionError
        If the session is open for reading only, or its folder cannot be written.
    """
    if session.read_only:
        raise SessionError(f"The session {session.path} is open for reading only. Close it elsewhere, then open it again.")
    work, text = session.path / WORK, json.dumps(settings, sort_keys=True, default=str)
    try:
        work.mkdir(exist_ok=True)
        _clear(work, keep_state=_read(work / _SETTINGS) == text)
        work.mkdir(exist_ok=True)
        write_atomically(work / _SETTINGS, text.encode())
    except OSError as error:
        raise _unwritable(work, error) from error
    ended = False
    try:
        yield work
        ended = True
    except OSError as error:
        raise _unwritable(work, error) from error
    finally:
        _clear(work, keep_state=not ended)


def go_on_with(work: Path, cases: Iterable[str]) -> None:
    """Forget what a round reached in its folder if it read other cases than these, as where images were out of reach."""
    path, text = work / _CASES, json.dumps(sorted(cases))
    if _read(path) != text:
        for state in work.glob(f"*{_STATE}"):
            state.unlink()
    write_atomically(path, text.encode())


def _unwritable(work: Path, error: OSError) -> SessionError:
    return SessionError(f"The session's folder {work} cannot be written ({error.strerror}). Free some space, then learn again.")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if is_plain(path) else None


def _clear(work: Path, keep_state: bool) -> None:
    """Remove what an earlier round left, but for its state and the settings and cases that this belongs to."""
    left = {path for path in work.iterdir() if keep_state and path.suffix == _STATE}
    if left:
        left |= {work / _SETTINGS, work / _CASES}
    for path in set(work.iterdir()) - left:
        path.unlink()
    if not left:
        work.rmdir()
