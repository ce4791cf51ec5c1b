"""The recorder of one case, heard in the window's own thread; once it is closed, only of failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.loop.recorder import Edited, Listener, Mark, Recorder
from napari_breastseg.loop.strokes import Stroke
from napari_breastseg.session import Session


class StrokeJournal(QObject):
    """Turns what a :class:`Recorder` tells into signals, in the order in which it happened.

    Signals
    -------
    recorded : Stroke, Step or Checkout, int
        It is durable under this seq.
    saved : int
        The same, without saying what it was.
    changed : Box, ndarray
        The annotation within the box now holds these values, after an undo, a redo, a checkout or a change made elsewhere.
    nothing : Step or Checkout
        There was nothing to change.
    marked : Mark
    failed : Exception
    """

    recorded = Signal(object, int)
    saved = Signal(int)
    changed = Signal(object, object)
    nothing = Signal(object)
    marked = Signal(object)
    failed = Signal(object)

    _told = Signal(object, object)
    """A signal above and its values, on the way from the recorder's thread."""

    def __init__(self, session: Session, case_id: str) -> None:
        super().__init__()
        self._waiting: deque[Stroke] = deque()
        self.recorded.connect(self._on_recorded)
        self._closed = False
        self._told.connect(self._tell)
        saved, changed, nothing, marked = map(self._teller, (self.recorded, self.changed, self.nothing, self.marked))
        heard = Listener(saved, changed, nothing, marked, self.failed.emit)  # a failure is told in any case
        self._recorder = Recorder(session, case_id, heard)
        self.retry = self._recorder.retry

    @property
    def seq(self) -> int:
        """The seq of the last edit that is known to be durable."""
        return self._recorder.seq

    @property
    def unsaved(self) -> int:
        """Number of strokes that are not durable yet."""
        return self._recorder.unsaved

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return self._recorder.idle

    def waiting(self) -> tuple[Stroke, ...]:
        """Return the strokes that `saved` has not told of yet, oldest first: what `changed` brings may be older than they are."""
        return tuple(self._waiting)

    def add(self, item: Edited | Mark) -> None:
        """Queue something to be saved; returns at once."""
        if isinstance(item, Stroke):
            self._waiting.append(item)
        self._recorder.add(item)

    def close(self) -> int:
        """Save what waits, and return the number of strokes that could not be saved."""
        unsaved = self._recorder.close()
        self._closed = True
        return unsaved

    def _teller(self, signal: Any) -> Callable[..., None]:
        return lambda *values: self._told.emit(signal, values)

    def _tell(self, signal: Any, values: tuple[Any, ...]) -> None:
        if not self._closed:  # else another case may be in front of the person by now
            signal.emit(*values)

    def _on_recorded(self, item: Edited, seq: int) -> None:
        if isinstance(item, Stroke):
            self._waiting.popleft()
        self.saved.emit(seq)
