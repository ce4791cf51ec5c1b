"""What the person says about the work itself: "slice reviewed", "case done"; and the events in the session's life."""

from __future__ import annotations

from typing import Any, get_args

from napari_breastseg.errors import InputError
from napari_breastseg.session.disk.text import from_json, to_json
from napari_breastseg.session.journal import Journal, now
from napari_breastseg.session.rows import EventRow, MarkKind, MarkRow


def add_mark(journal: Journal, case_id: str, what: MarkKind, value: Any, seq: int) -> int:
    """Append a mark, made when the annotation stood at `seq`, and return its number."""
    if what not in get_args(MarkKind):
        raise InputError(f"{what!r} is no mark. Use one of: {', '.join(get_args(MarkKind))}.")
    with journal.transaction("The mark"):
        return journal.append("mark", case_id=case_id, time=now(), what=what, value=to_json(value, "The mark"), seq=seq)


def marks(journal: Journal, case_id: str) -> list[MarkRow]:
    """Return the marks of a case, oldest first."""
    found = journal.rows("mark", "case_id=?", (case_id,))
    return [MarkRow(row["id"], row["time"], row["what"], from_json(row["value"], f"The mark {row['id']}"), row["seq"]) for row in found]


def events(journal: Journal) -> list[EventRow]:
    """Return the events of the session, oldest first."""
    return [
        EventRow(row["id"], row["time"], row["kind"], from_json(row["details"], f"The event {row['id']}")) for row in journal.rows("event")
    ]
