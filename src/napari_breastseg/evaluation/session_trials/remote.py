"""A session that is open in another process, told what to do over a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from napari_breastseg.errors import BreastSegError
from napari_breastseg.evaluation.session_trials.processes import start
from napari_breastseg.session import Session


class RemoteSession:
    """A :class:`Session` whose methods run in a process of its own, which can be killed.

    Raises
    ------
    BreastSegError
        If the session cannot be opened there.
    """

    def __init__(self, folder: Path) -> None:
        self._running = start(serve, folder)
        self._answer()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._running.pid

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method there and return its answer, or raise what it raised.

        Raises
        ------
        BreastSegError
            As raised there.
        """
        self.begin(method, *arguments)
        return self._answer()

    def begin(self, method: str, *arguments: object) -> None:
        """Have a method begin there and do not wait for its end."""
        self._running.pipe.send((method, arguments))

    def close(self) -> None:
        """Have the session closed as it should be, and end the process."""
        self.call("close")
        self.kill()

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        self._running.kill()

    def _answer(self) -> Any:
        kind, value = self._running.pipe.recv()
        if kind == "refused":
            raise value
        return value


@contextmanager
def opened_remotely(folder: Path) -> Iterator[RemoteSession]:
    """Open the session in another process, which is killed at the end."""
    session = RemoteSession(folder)
    try:
        yield session
    finally:
        session.kill()


def serve(folder: Path, pipe: Connection) -> None:
    """Open the session and call the methods that come over the pipe, until the process is killed or nobody listens any more."""
    try:
        session = Session.open(folder)
        pipe.send(("opened", None))
    except BreastSegError as error:
        pipe.send(("refused", error))
        return
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", getattr(session, method)(*arguments)))
        except BreastSegError as error:
            pipe.send(("refused", error))
