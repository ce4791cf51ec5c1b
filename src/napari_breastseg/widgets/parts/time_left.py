"""How long a job will still take, by how long its steps have taken so far."""

from __future__ import annotations

import time
from collections.abc import Callable

from napari_breastseg.progress import Progress

_SOON = 3.0
"""Seconds after which an estimate is worth saying."""


class TimeLeft:
    """An estimate for the part of a job that it is in; a part begins where another total is counted to, or counting begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = self._last = Progress(0, 0, "")
        self._began = self._moved = 0.0

    def words(self, step: Progress) -> str:
        """Return words such as "about 40 s left", empty as long as nothing can be said."""
        now = self._clock()
        if step.total != self._last.total or step.step < self._last.step:
            self._first, self._began, self._moved = step, now, now
        elif step.step > self._last.step:
            self._moved = now
        self._last = step
        done = step.step - self._first.step
        if done < 2 or now - self._began < _SOON:
            return ""
        seconds = (self._moved - self._began) / done * (step.total - step.step) - (now - self._moved)
        if seconds < 10:
            return "a few seconds left"
        return f"about {round(seconds, -1):.0f} s left" if seconds < 95 else f"about {seconds / 60:.0f} min left"
