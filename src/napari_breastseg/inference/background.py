"""The one thread that reads and computes, while whoever asked is told now and then that it goes on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")

NICE = 10
PATIENCE = 0.25
"""Seconds between two signs of life."""


def patiently(work: Callable[[], T], sign: S) -> Generator[S, None, T]:
    """Return what `work` returns; yields `sign` every :data:`PATIENCE` seconds until then.

    Who closes the generator waits no longer: what is at work is finished in vain, and what comes next begins after it. All work of the
    process goes through one thread, since each new one would leave memory behind in pools of its own. `work` must not do the same.
    """
    found = _thread().submit(_with_threads, work, torch.get_num_threads())
    try:
        while not wait([found], PATIENCE).done:
            yield sign
    finally:
        found.cancel()  # if it has not begun
    return found.result()


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "breastseg-inference", _stand_back)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread.cache_clear)  # a child has none of its parent's threads


def _stand_back() -> None:
    """Let this thread, and those that it starts to compute with, wait for all others that want a processor: a window that is drawn."""
    if sys.platform == "linux":  # elsewhere a thread cannot be told apart from its process
        me = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, me, max(NICE, os.getpriority(os.PRIO_PROCESS, me)))


def _with_threads(work: Callable[[], T], threads: int) -> T:
    if torch.get_num_threads() != threads:  # which counts for each thread that asks for it
        torch.set_num_threads(threads)
    return work()
