"""Small jobs that the tests run in a child process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from napari_breastseg.errors import InputError
from napari_breastseg.progress import Job, Progress


def add(a: int, b: int) -> Job[int]:
    yield Progress(1, 2, "adding", payload=np.arange(3))
    print("a print of the child must not reach the parent's standard output")
    yield Progress(2, 2, "added")
    return a + b


def array(n: int) -> Job[np.ndarray]:
    yield Progress(1, 1, "filling")
    return np.full(n, 7, np.uint8)


def facts() -> Job[tuple[int, int]]:
    yield Progress(1, 1, "looking")
    return os.getpid(), os.nice(0)


def refuse() -> Job[None]:
    yield Progress(0, 1, "looking")
    raise InputError("The mask is empty. Paint first.")


def fail() -> Job[None]:
    yield Progress(0, 1, "looking")
    raise ZeroDivisionError("a bug\nin the child")


def hungry() -> Job[None]:
    yield Progress(0, 1, "looking")
    raise MemoryError


def killed() -> Job[None]:
    yield Progress(0, 1, "looking")
    os.kill(os.getpid(), signal.SIGKILL)


def crashed() -> Job[None]:
    yield Progress(0, 1, "looking")
    os.kill(os.getpid(), signal.SIGSEGV)


def wait_and_tidy(folder: str, stubborn: bool = False) -> Job[None]:
    """Leave ``pid`` at the start and ``tidy`` when closed; a stubborn one cannot be asked to stop."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(folder, "pid").write_text(str(os.getpid()))
    try:
        yield Progress(1, 9, "waiting")
        while True:
            time.sleep(0.02)
    finally:
        Path(folder, "tidy").touch()
