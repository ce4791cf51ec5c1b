"""Carries every stroke to the session, in order, on a thread of its own, and says when it is safe there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box, slices
from napari_breastseg.errors import StaleEditError
from napari_breastseg.loop.approval import reopen
from napari_breastseg.loop.strokes import Stroke
from napari_breastseg.session import Edit, Session


@dataclass(frozen=True)
class Step:
    """An undo or a redo."""

    which: Literal["undo", "redo"]


@dataclass(frozen=True)
class Checkout:
    """An old annotation that is to become current again."""

    seq: int


@dataclass(frozen=True)
class Mark:
    """What the person says about the work: a slice was reviewed, the case is done."""

    what: Literal["slice-reviewed", "case-done"]
    value: Any


Edited: TypeAlias = Stroke | Step | Checkout


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """What is called, on the recorder's thread, as things happen.

    Parameters
    ----------
    saved : callable
        Gets a stroke, step or checkout and the seq under which it is durable.
    changed : callable
        Gets a box and what the annotation within it says after an undo, a redo, a checkout or a change made elsewhere.
    nothing : callable
        Gets a step or checkout that had nothing to change.
    marked : callable
        Gets a mark that is durable, also where going back behind "case done" opened the case again.
    failed : callable
        Gets the error for which something could not be saved.
    """

    saved: Callable[[Edited, int], None] = _ignore
    changed: Callable[[Box, npt.NDArray[np.uint8]], None] = _ignore
    nothing: Callable[[Edited], None] = _ignore
    marked: Callable[[Mark], None] = _ignore
    failed: Callable[[Exception], None] = _ignore


class Recorder:
    """The queue from what is painted to the journal of one case.

    A stroke that cannot be saved stays at the head of the queue, and those after it wait, until :meth:`retry` or the next stroke.

    Parameters
    ----------
    session : Session
    case_id : str
    listener : Listener, optional
    """

    def __init__(self, session: Session, case_id: str, listener: Listener | None = None) -> None:
        self._session = session
        self._case_id = case_id
        self._listener = listener or Listener()
        self._seq = session.seq(case_id)
        self._queue: deque[Edited | Mark] = deque()
        self._stuck = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="breastseg-journal")

    @property
    def seq(self) -> int:
        """The seq of the last edit that is known to be durable."""
        return self._seq

    @property
    def unsaved(self) -> int:
        """Number of strokes that are not durable yet."""
        return sum(1 for _ in self.pending())

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def pending(self) -> Iterator[Stroke]:
        """Return the strokes that are not durable yet, oldest first."""
        return (item for item in tuple(self._queue) if isinstance(item, Stroke))

    def add(self, item: Edited | Mark) -> None:
        """Queue something to be saved; returns at once."""
        self._queue.append(item)
        self.retry()

    def retry(self) -> None:
        """Go on saving after a failure."""
        self._stuck = False
        self._thread.submit(self._work)

    def close(self) -> int:
        """Save what waits, end the thread and return the number of strokes that could not be saved."""
        self._thread.submit(self._try_again)
        self._thread.shutdown(wait=True)
        return self.unsaved

    def _try_again(self) -> None:
        self._stuck = False
        self._work()

    def _work(self) -> None:
        while self._queue and not self._stuck:
            item = self._queue[0]
            try:
                tell = self._save(item)
            except Exception as error:
                self._give_up(item, error)
                return
            self._queue.popleft()
            tell()

    def _save(self, item: Edited | Mark) -> Callable[[], None]:
        """Save one thing and return what then tells of it."""
        session, case_id, listener = self._session, self._case_id, self._listener
        if isinstance(item, Mark):
            session.mark(case_id, item.what, item.value)
            return lambda: listener.marked(item)
        if isinstance(item, Stroke):
            seq = self._seq = session.record(case_id, Edit(item.box, item.mask, item.value, item.tool, self._seq))
            return lambda: listener.saved(item, seq)
        if isinstance(item, Checkout):
            change = session.checkout(case_id, item.seq)
        else:
            change = session.undo(case_id) if item.which == "undo" else session.redo(case_id)
        if change is None:
            return lambda: listener.nothing(item)
        self._seq = change.seq
        values = session.annotation(case_id)[slices(change.box)]
        reopened = reopen(session, case_id)

        def tell() -> None:
            listener.changed(change.box, values)
            listener.saved(item, change.seq)
            if reopened:
                listener.marked(Mark("case-done", False))

        return tell

    def _give_up(self, item: Edited | Mark, error: Exception) -> None:
        """Keep a stroke for another try; anything else can be asked for again. After a change made elsewhere, catch up with it."""
        if isinstance(item, Stroke):
            self._stuck = True
        else:
            self._queue.popleft()
        self._listener.failed(error)
        if isinstance(error, StaleEditError):
            annotation = self._session.annotation(self._case_id)
            self._seq = self._session.seq(self._case_id)
            z, y, x = annotation.shape
            self._listener.changed(((0, z), (0, y), (0, x)), annotation)
