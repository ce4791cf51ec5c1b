"""Words and times of a session as the lists and tables of the dock show them."""

from __future__ import annotations

from datetime import datetime


def one_line(text: str, longest: int = 120) -> str:
    """Return a text in one line that is not longer than `longest`."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def when(time: str, until: str = "") -> str:
    """Return an ISO 8601 time in local words: ``"14:02"`` today, else ``"21 Nov, 14:02"``; with `until`, ``"14:02 to 14:05"``."""
    try:
        start, end = (datetime.fromisoformat(moment).astimezone() for moment in (time, until or time))
    except (ValueError, OverflowError):
        return "at an unknown time"
    day = "" if start.date() == datetime.now().astimezone().date() else f"{start.day} {start:%b}, "
    words = f"{day}{start:%H:%M}"
    if f"{start:%x %H:%M}" == f"{end:%x %H:%M}":
        return words
    return f"{words} to {end:%H:%M}"
