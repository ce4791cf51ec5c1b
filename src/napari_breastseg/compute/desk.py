"""The far end of a job on a Dask cluster: a folder, a thread that works, and its news; held by a worker as a Dask actor."""

from __future__ import annotations

import shutil
import tempfile
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker

from napari_breastseg.compute.calls import call, for_people
from napari_breastseg.compute.paths import Stamp, inward, outward, stamp, stamps, translated
from napari_breastseg.compute.threads import use_threads
from napari_breastseg.errors import BreastSegError, ComputeError
from napari_breastseg.progress import Progress, run

_TURN = threading.Lock()
"""A job takes all of a machine: the jobs of one worker wait for each other."""
_PATIENCE = 0.2


@dataclass(frozen=True)
class Done:
    """How a job ended: with a result, or with an error for people and, if it was a bug, its traceback."""

    result: Any = None
    error: tuple[type[BreastSegError], str] | None = None
    log: str = ""


@dataclass(frozen=True)
class News:
    """What happened since the last news; `files` are the stamps of all files in the work folders at the last progress."""

    progress: list[Progress]
    files: Mapping[str, Stamp]
    done: Done | None


class Desk:
    """One job on a worker.

    The client holds it. When the client lets go of it, or dies, Dask drops it, and the job stops at its next progress.
    """

    def __init__(self) -> None:
        root = Path(tempfile.mkdtemp(prefix="napari-breastseg-", dir=get_worker().local_directory))
        self._work = _Work(root, get_worker().state.nthreads)
        weakref.finalize(self, self._work.stopped.set)
        threading.Thread(target=self._work.run, name=root.name, daemon=True).start()

    def lay(self, name: str, content: bytes) -> None:
        """Append `content` to the file `name`."""
        path = self._work.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise ComputeError(f"The worker cannot write to {path.parent} ({error.strerror}). Free some space there.") from error

    def begin(self, target: str, kwargs: Mapping[str, Any], name: str, folders: int, works: int) -> dict[str, Stamp]:
        """Begin the job ``target(**kwargs)`` on the files that were laid down; return their stamps."""
        return self._work.begin(target, kwargs, name, folders, works)

    def news(self) -> News:
        """Return what happened since the last call."""
        return self._work.news()

    def take(self, name: str, offset: int, size: int, known: Stamp) -> bytes | None:
        """Return `size` bytes of a file from `offset`, or None if it is no longer the file with the stamp `known`."""
        try:
            with self._work.path(name).open("rb") as file:
                file.seek(offset)
                content = file.read(size)
            return content if stamp(self._work.path(name)) == known else None
        except FileNotFoundError:
            return None


class _Work:
    """What the thread knows; it must not know the desk, or the desk would never be dropped."""

    def __init__(self, root: Path, threads: int) -> None:
        self._threads = threads
        self.stopped = threading.Event()
        self._root = root
        self._job: tuple[str, Mapping[str, Any], str] | None = None
        self._folders: list[Path] = []
        self._works: list[Path] = []
        self._progress: deque[Progress] = deque()
        self._files: dict[str, Stamp] = {}
        self._done: Done | None = None

    def path(self, name: str) -> Path:
        """Return where a file lies here."""
        return self._root / name

    def begin(self, target: str, kwargs: Mapping[str, Any], name: str, folders: int, works: int) -> dict[str, Stamp]:
        self._folders = [self._root / str(number) for number in range(folders)]
        self._works = self._folders[:works]
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
        self._files = stamps(self._works)
        self._job = target, kwargs, name
        return self._files

    def news(self) -> News:
        done = self._done  # before what preceded it, so that nothing is missed
        return News([self._progress.popleft() for _ in range(len(self._progress))], self._files, done)

    def run(self) -> None:
        """Wait for the job, do it, and keep its files until nobody wants them any more."""
        try:
            while self._job is None and not self.stopped.wait(_PATIENCE):
                pass
            if self._job is not None and self._has_turn():
                try:
                    self._done = self._do(*self._job)
                finally:
                    _TURN.release()
            self.stopped.wait()
        finally:
            shutil.rmtree(self._root, ignore_errors=True)

    def _has_turn(self) -> bool:
        if _TURN.acquire(blocking=False):
            return True
        self._progress.append(Progress(0, 1, "waiting for another job of the same worker"))
        while not self.stopped.is_set():
            if _TURN.acquire(timeout=_PATIENCE):
                return True
        return False

    def _do(self, target: str, kwargs: Mapping[str, Any], name: str) -> Done:
        try:
            use_threads(self._threads)
            result = run(call(target, translated(dict(kwargs), inward(self._folders))), self._tell)
            self._files = stamps(self._works)
            return Done(translated(result, outward(self._folders)))
        except BaseException as error:  # whatever ends the job must be told, or the client waits for ever
            told = for_people(error, name)
            return Done(error=(type(told), str(told)), log="" if told is error else traceback.format_exc())

    def _tell(self, progress: Progress) -> None:
        if self.stopped.is_set():
            raise InterruptedError
        self._files = stamps(self._works)
        self._progress.append(progress)
