"""Runs a job of the core on a worker thread, with a bar in napari's activity dock and a way to cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import progress as activity_bar
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets._messages import tell


@dataclass(frozen=True)
class _Failed:
    """An error as a value: superqt's worker swallows a RuntimeError (torch raises many) and would then never finish."""

    error: Exception


class _Cancelled:
    pass


class JobRunner(QObject):
    """Runs one job at a time.

    Signals
    -------
    started, ended : str
        The kind of the job; it ended however it did.
    progressed : str, Progress
    cancelled : str
        After the job's generator was closed, so that its memory is free and its child process gone.
    """

    started = Signal(str)
    progressed = Signal(str, object)
    cancelled = Signal(str)
    ended = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.kind: str | None = None
        self._worker: Any = None
        self._bar: Any = None
        self._cancel = threading.Event()
        self._lock = threading.Lock()
        self._alive = False
        self._last_act: Callable[[], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self.kind is not None

    def start(self, kind: str, title: str, job: Callable[[], Job[Any]], done: Callable[[Any], None]) -> None:
        """Start a job unless one is running; `done` gets its result in the main thread.

        Parameters
        ----------
        kind : str
            Which of the dock's sections the job belongs to.
        title : str
            What is being done, for the activity dock.
        job : callable
            Makes the job; called on the worker thread, so that it may import slowly.
        done : callable
            Called in the main thread with the result; not called after an error or a cancel.
        """
        if self.busy:
            return
        self.kind, self._cancel = kind, threading.Event()
        self._alive = True
        self._bar = activity_bar(total=0, desc=title)
        self._worker = create_worker(self._drive, job, self._cancel, _ignore_errors=True)
        self._worker.yielded.connect(self._on_progress)
        self._worker.returned.connect(lambda result: self._on_returned(result, done))
        self._worker.finished.connect(self._on_finished)
        self._worker.start()
        self.started.emit(kind)

    def cancel(self) -> None:
        """Ask the running job to stop at its next step."""
        self._cancel.set()

    def close(self, last_act: Callable[[], None]) -> None:
        """Cancel what is running and call `last_act` once nothing runs any more: at once, or later on the worker thread."""
        with self._lock:
            if self._alive:
                self._last_act = last_act
                self.cancel()
                return
        last_act()

    def _drive(self, make: Callable[[], Job[Any]], cancel: threading.Event) -> Generator[Progress, None, Any]:
        job: Job[Any] | None = None
        try:
            job = make()
            while not cancel.is_set():
                try:
                    step = next(job)
                except StopIteration as stop:
                    return stop.value
                yield step
            return _Cancelled()
        except Exception as error:
            return _Failed(error)
        finally:
            if job is not None:
                job.close()
            with self._lock:
                self._alive = False
                last_act, self._last_act = self._last_act, None
            if last_act is not None:
                last_act()

    def _on_progress(self, step: Progress) -> None:
        if self.kind is None:
            return
        if self._bar.total != step.total:
            self._bar.total = step.total
        self._bar.set_description(step.message)
        self._bar.update(step.step - self._bar.n)
        self.progressed.emit(self.kind, step)

    def _on_returned(self, result: Any, done: Callable[[Any], None]) -> None:
        kind = self.kind
        self._end()
        if isinstance(result, _Failed):
            tell(result.error)
        elif isinstance(result, _Cancelled):
            self.cancelled.emit(kind)
        else:
            try:
                done(result)
            except Exception as error:
                tell(error)

    def _on_finished(self) -> None:
        """Come here after a return, and alone when napari's window, closing, told the worker to quit."""
        self._end()

    def _end(self) -> None:
        if self.kind is None:
            return
        kind, self.kind, self._worker = self.kind, None, None
        self._bar.close()
        self.ended.emit(kind)
