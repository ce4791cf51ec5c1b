"""Measuring in a process of its own, whose memory nothing else has touched."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from napari_breastseg.errors import BreastSegError, ComputeError

T = TypeVar("T")


def alone(what: str, function: Callable[..., T], *arguments: object) -> T:
    """Return what a function of a module says in a fresh process, with as many threads as this one.

    Raises
    ------
    ComputeError
        If the process ends without an answer, as for want of memory, or the function raises it.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(function, arguments, torch.get_num_threads(), there))
    child.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError as error:
        raise ComputeError(f"{what} could not be measured: its process ended. Try a smaller size.") from error
    finally:
        child.join()
    if isinstance(answer, BreastSegError):
        raise answer
    result: T = answer
    return result


def peak_memory() -> float:
    """Return the largest resident memory of this process, MiB; not a number where the system does not say."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        # Linux, where what getrusage says begins with the parent's
        return next(float(line.split()[1]) / 2**10 for line in file if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return float("nan")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)  # bytes, or kilobytes


def _answer(function: Callable[..., Any], arguments: tuple[object, ...], threads: int, there: Connection) -> None:
    torch.set_num_threads(threads)
    try:
        there.send(function(*arguments))
    except BreastSegError as error:
        there.send(error)
