"""Runs a job of the core on a worker thread, with a bar in napari's activity dock and a way to cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from napari.qt.threading import create_worker
from napari.utils import progress as activity_bar
from qtpy.QtCore import QObject, QThread, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication

from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets.desk.messages import tell

T = TypeVar("T")
_PAUSE_MS = 100
"""Bars are drawn ten times a second at most: a job may take many more steps."""


def while_responsive(title: str, work: Callable[[], T]) -> T:
    """Return the result of `work`, done on another thread while the window stays alive.

    For the calls of napari that want their result at once: readers and sample data. Without a running window, or on another thread than
    its own, the work is simply done.
    """
    app = QApplication.instance()
    if app is None or QThread.currentThread() is not app.thread():
        return work()
    bar = activity_bar(total=0, desc=title)
    with ThreadPoolExecutor(max_workers=1) as thread:
        future = thread.submit(work)
        while not future.done():  # a Python slot of a timer could be collected as garbage by that thread while it runs in this one
            app.processEvents()
            wait([future], timeout=0.02)
    bar.close()
    return future.result()


@dataclass(frozen=True)
class _Failed:
    """An error as a value: superqt's worker swallows a RuntimeError (torch raises many) and would then never finish."""

    error: Exception


class _Cancelled:
    pass


class _Run:
    """One job on its way: it is settled once, wherever that comes first."""

    def __init__(self, kind: str, make: Callable[[], Job[Any]], done: Callable[[Any], None]) -> None:
        self.kind = kind
        self.done = done
        self.cancel = threading.Event()
        self._make = make
        self._job: Job[Any] | None = None
        self._lock = threading.Lock()
        self._settled = False
        self._last_act: Callable[[], None] | None = None

    def drive(self) -> Generator[Progress, None, Any]:
        """Run the job on the worker thread; a cancelled one is closed there, which frees its memory and ends its child process."""
        try:
            self._job = self._make()
            del self._make  # napari may keep this run for long: let go of what the job was made of, such as a case in memory
            while not self.cancel.is_set():
                try:
                    step = next(self._job)
                except StopIteration as stop:
                    return stop.value
                yield step
            return _Cancelled()
        except Exception as error:
            return _Failed(error)
        finally:
            self.settle()

    def settle(self) -> None:
        """Close the job, and do what was to be done after it."""
        with self._lock:
            if self._settled:
                return
            self._settled = True
        if self._job is not None:
            self._job.close()
        if self._last_act is not None:
            self._last_act()

    def afterwards(self, act: Callable[[], None]) -> bool:
        """Do `act` once the job is settled; False if it is already."""
        with self._lock:
            if not self._settled:
                self._last_act = act
            return not self._settled


class JobRunner(QObject):
    """Runs one job at a time.

    Signals
    -------
    started, ended : str
        The kind of the job; it ended however it did.
    progressed : str, Progress
        Every step of the job.
    drawn : str, Progress
        The latest step, so seldom that bars may be drawn each time.
    cancelled : str
        After the job's generator was closed, so that its memory is free and its child process gone.
    """

    started = Signal(str)
    progressed = Signal(str, object)
    drawn = Signal(str, object)
    cancelled = Signal(str)
    ended = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._run: _Run | None = None
        self._bar: Any = None
        self._latest: Progress | None = None
        self._drawing = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._draw)

    @property
    def kind(self) -> str | None:
        """The kind of the job that runs, if any."""
        return None if self._run is None else self._run.kind

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._run is not None

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
        if self._run is not None:
            return
        run = self._run = _Run(kind, job, done)
        self._bar = activity_bar(total=0, desc=title)
        worker = create_worker(run.drive, _ignore_errors=True)
        worker.yielded.connect(lambda step: self._on_progress(run, step))
        worker.returned.connect(lambda result: self._on_returned(run, result))
        worker.finished.connect(lambda: self._on_finished(run))
        worker.start()
        self.started.emit(kind)

    def cancel(self) -> None:
        """Ask the running job to stop at its next step."""
        if self._run is not None:
            self._run.cancel.set()

    def close(self, last_act: Callable[[], None]) -> None:
        """Cancel what is running and call `last_act` once nothing runs any more: at once, or later on the worker thread."""
        self.cancel()
        if self._run is None or not self._run.afterwards(last_act):
            last_act()

    def _on_progress(self, run: _Run, step: Progress) -> None:
        if run is self._run:
            self._latest = step
            if not self._soon.isActive():
                self._soon.start()
            self.progressed.emit(run.kind, step)

    def _draw(self) -> None:
        """Draw the bars; not again meanwhile, although napari handles events while it draws its own: steps, the job's end, this timer."""
        run, step = self._run, self._latest
        if self._drawing or run is None or step is None:
            return
        self._drawing, self._latest = True, None
        try:
            self.drawn.emit(run.kind, step)
            for draw in (
                lambda: setattr(self._bar, "total", step.total),
                lambda: self._bar.set_description(step.message),
                lambda: self._bar.update(step.step - self._bar.n),
            ):
                if run is self._run:
                    draw()
        finally:
            self._drawing = False

    def _on_returned(self, run: _Run, result: Any) -> None:
        self._end(run)
        if isinstance(result, _Failed):
            tell(result.error)
        elif isinstance(result, _Cancelled):
            self.cancelled.emit(run.kind)
        else:
            try:
                run.done(result)
            except Exception as error:
                tell(error)

    def _on_finished(self, run: _Run) -> None:
        """Come here after a return, and alone when napari's window, closing, told the worker to quit: its generator is then still open."""
        run.settle()
        self._end(run)

    def _end(self, run: _Run) -> None:
        if run is self._run:
            self._run = self._latest = None
            self._bar.close()
            self.ended.emit(run.kind)
