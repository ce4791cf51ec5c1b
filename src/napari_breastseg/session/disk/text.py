"""Values as text in the session, and text from a session that may be a stranger's as values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from napari_breastseg.errors import SessionError

_MISUNDERSTANDINGS = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn the errors of reading something whose checksum is right, but whose content makes no sense, into a :class:`SessionError`.

    Our own rows always make sense; those of a session that somebody forged need not.
    """
    try:
        yield
    except _MISUNDERSTANDINGS as error:
        raise SessionError(
            f"{what} makes no sense: another program changed the session, or forged it. Restore it from a backup."
        ) from error


def to_json(value: object, what: str) -> str:
    """Return `value` as JSON text; numpy numbers and arrays are taken as plain ones.

    Raises
    ------
    SessionError
        If the value holds something that JSON cannot.
    """
    try:
        return json.dumps(value, default=_plain, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise SessionError(f"{what} cannot be stored: {error}. Give numbers, texts, lists and dictionaries only.") from error


def from_json(text: str, what: str) -> Any:
    """Return the value of :func:`to_json`.

    Raises
    ------
    SessionError
        If it is no such text.
    """
    with understood(what):
        return json.loads(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
