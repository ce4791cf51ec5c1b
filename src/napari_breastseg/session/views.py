"""How a person looked at each case, kept so that the work can go on where it was. Nothing else depends on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.session.disk.text import to_json
from napari_breastseg.session.journal import Journal

_log = logging.getLogger(__name__)
_LAST = "last-case"
_MOST = 65536


def keep(journal: Journal, case_id: str, view: Mapping[str, Any]) -> None:
    """Store the view of a case; see :meth:`Session.keep_view`."""
    if len(to_json(dict(view), "The view")) > _MOST:
        raise InputError("The view is too large to be kept. Close some layers.")
    with journal.transaction("The view"):
        journal.set_head(f"view/{case_id}", dict(view))
        if _read(journal, _LAST) != case_id:
            journal.set_head(_LAST, case_id)


def view(journal: Journal, case_id: str) -> dict[str, Any]:
    """Return the view of a case; see :meth:`Session.view`."""
    found = _read(journal, f"view/{case_id}")
    return found if isinstance(found, dict) else {}


def last_case(journal: Journal, cases: Sequence[str]) -> str | None:
    """Return the case that was looked at last, if it is one of `cases`."""
    found = _read(journal, _LAST)
    return found if found in cases else None


def _read(journal: Journal, name: str) -> Any:
    try:
        return journal.head(name)
    except SessionError as error:
        _log.warning("%s The work begins with the usual view.", error)
        return None
