"""Carries every stroke to the session, in order, on a thread of its own, and says when it is safe there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.case import Box, slices
from napari_breastseg.errors import StaleEditError
from napari_breastseg.session import Edit, Session


@dataclass(frozen=True)
class Stroke:
    """One stroke that is to be saved: the voxels of `mask` within `box` become `value`."""

    box: Box
    mask: npt.NDArray[np.bool_]
    value: int | npt.NDArray[np.uint8]
    tool: str


@dataclass(frozen=True)
class Step:
    """An undo or a redo."""

    which: Literal["undo", "redo"]


@dataclass(frozen=True)
class Mark:
    """What the person says about the work: a slice was reviewed, the case is done."""

    what: Literal["slice-reviewed", "case-done"]
    value: Any


class StrokeJournal(QObject):
    """The queue from the painted layer to the journal of one case.

    A stroke that cannot be saved stays at the head of the queue, and those after it wait, until :meth:`retry` or the next stroke.

    Signals
    -------
    saved : int
        A stroke, an undo or a redo is durable under this seq.
    changed : Box, ndarray
        The annotation within the box now holds these values, after an undo, a redo or a change made elsewhere.
    nothing_left : str
        There was nothing to undo or redo.
    marked : Mark
    failed : Exception
    """

    saved = Signal(int)
    changed = Signal(object, object)
    nothing_left = Signal(str)
    marked = Signal(object)
    failed = Signal(object)

    def __init__(self, session: Session, case_id: str) -> None:
        super().__init__()
        self._session = session
        self._case_id = case_id
        self._seq = session.seq(case_id)
        self._queue: deque[Stroke | Step | Mark] = deque()
        self._stuck = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="breastseg-journal")

    @property
    def seq(self) -> int:
        """The seq of the last edit that is known to be durable."""
        return self._seq

    @property
    def unsaved(self) -> int:
        """Number of strokes that are not durable yet."""
        return sum(isinstance(item, Stroke) for item in tuple(self._queue))

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def pending(self) -> Iterator[Stroke]:
        """Return the strokes that are not durable yet, oldest first."""
        return (item for item in tuple(self._queue) if isinstance(item, Stroke))

    def add(self, item: Stroke | Step | Mark) -> None:
        """Queue something to be saved; returns at once."""
        self._queue.append(item)
        self.retry()

    def retry(self) -> None:
        """Go on saving after a failure."""
        self._stuck = False
        self._thread.submit(self._work)

    def close(self) -> int:
        """Save what waits, end the thread and return the number of strokes that could not be saved."""
        self.retry()
        self._thread.shutdown(wait=True)
        return self.unsaved

    def _work(self) -> None:
        while self._queue and not self._stuck:
            item = self._queue[0]
            try:
                signal, values = self._save(item)
            except Exception as error:
                self._give_up(item, error)
                return
            self._queue.popleft()
            signal.emit(*values)
            if isinstance(item, Step):
                self.saved.emit(self._seq)

    def _save(self, item: Stroke | Step | Mark) -> tuple[Any, tuple[Any, ...]]:
        session, case_id = self._session, self._case_id
        if isinstance(item, Mark):
            session.mark(case_id, item.what, item.value)
            return self.marked, (item,)
        if isinstance(item, Stroke):
            self._seq = session.record(case_id, Edit(item.box, item.mask, item.value, item.tool, self._seq))
            return self.saved, (self._seq,)
        change = session.undo(case_id) if item.which == "undo" else session.redo(case_id)
        if change is None:
            return self.nothing_left, (item.which,)
        self._seq = change.seq
        return self.changed, (change.box, session.annotation(case_id)[slices(change.box)])

    def _give_up(self, item: Stroke | Step | Mark, error: Exception) -> None:
        """Keep a stroke for another try; an undo or a mark can be asked for again. After a change made elsewhere, catch up with it."""
        if isinstance(item, Stroke):
            self._stuck = True
        else:
            self._queue.popleft()
        self.failed.emit(error)
        if isinstance(error, StaleEditError):
            annotation = self._session.annotation(self._case_id)
            self._seq = self._session.seq(self._case_id)
            z, y, x = annotation.shape
            self.changed.emit(((0, z), (0, y), (0, x)), annotation)
