"""Reads from a session on a thread of its own, so that neither painting nor a long job waits for it, nor it for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.widgets.desk.messages import tell

T = TypeVar("T")


class Reading(QObject):
    """Does one reading at a time; of those asked for under one name only the last counts.

    Signals
    -------
    ended
        Nothing that was asked for is still to come.
    """

    ended = Signal()
    _done = Signal(object, object, object)

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[Hashable, object] = {}
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="breastseg-reading")
        self._done.connect(self._on_done)

    @property
    def busy(self) -> bool:
        """Whether something that was asked for is still to come."""
        return bool(self._asked)

    def asks(self, name: Hashable) -> bool:
        """Tell whether something was asked for under this name that is still to come."""
        return name in self._asked

    def ask(self, name: Hashable, read: Callable[[], T], use: Callable[[T], None]) -> None:
        """Have `read` done on the thread and `use` called with its result in the window's own.

        What was asked for under the same name before is forgotten; an error is told in one sentence.
        """
        if self._closed:
            return
        token = self._asked[name] = object()
        self._thread.submit(self._work, name, token, read, use)

    def forget(self) -> None:
        """Forget all that was asked for: its results will not be used, nor its errors told."""
        self._asked.clear()

    def close(self) -> None:
        """Forget everything and read nothing more, whoever asks."""
        self._closed = True
        self.forget()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _work(self, name: Hashable, token: object, read: Callable[[], Any], use: Callable[[Any], None]) -> None:
        if self._asked.get(name) is not token:
            return
        try:
            result = read()
        except Exception as error:
            self._done.emit(name, token, _partial(tell, error))
        else:
            self._done.emit(name, token, _partial(use, result))

    def _on_done(self, name: Hashable, token: object, act: Callable[[], None]) -> None:
        if self._asked.get(name) is not token:
            return
        del self._asked[name]
        try:
            act()
        except Exception as error:
            tell(error)
        if not self._asked:
            self.ended.emit()


def _partial(act: Callable[[Any], None], value: Any) -> Callable[[], None]:
    return lambda: act(value)
