"""Processes that are started to be killed: forked from a warm server where the system can, so that each is at work after milliseconds."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_PRELOAD = ["__main__", "napari_breastseg.evaluation.session_trials.writer", "napari_breastseg.evaluation.session_trials.remote"]


@dataclass(frozen=True)
class Running:
    """A process and this end of its pipe."""

    process: BaseProcess
    pipe: Connection

    @property
    def pid(self) -> int:
        """The number that the system gave the process."""
        assert self.process.pid is not None
        return self.process.pid

    def said_within(self, seconds: float) -> list[Any]:
        """Return what the process says in so many seconds, or until it ends; the pipe never fills up meanwhile."""
        end = time.monotonic() + seconds
        said = []
        while self.pipe.poll(max(0.0, end - time.monotonic())):
            try:
                said.append(self.pipe.recv())
            except (EOFError, OSError):  # it ended, perhaps in the middle of a word
                break
        return said

    def kill(self) -> list[Any]:
        """End the process as ``kill -9`` does and return what it had said and nobody had read."""
        self.process.kill()
        self.process.join()
        said = self.said_within(0)
        self.pipe.close()
        return said


def start(target: Callable[..., None], *arguments: object) -> Running:
    """Start ``target(*arguments, pipe)`` in a process of its own."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(_PRELOAD)
    here, there = context.Pipe()
    process = context.Process(target=target, args=(*arguments, there), daemon=True)  # type: ignore[attr-defined]
    process.start()
    there.close()
    return Running(process, here)
