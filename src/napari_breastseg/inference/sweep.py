"""Windows through the network: in batches, in a given order, in mirror images if asked for."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TypeAlias

import numpy as np
import torch

from napari_breastseg.case import Box
from napari_breastseg.inference.grids import Grid
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import Canvas, Map

Flip: TypeAlias = tuple[int, ...]
"""Axes of (z, y, x) that are mirrored."""
PLAIN: Sequence[Flip] = ((),)

NICE = 10
PATIENCE = 0.25
"""Seconds between two signs of life."""

Work: TypeAlias = tuple[Grid, Canvas, Box]
"""One window of a grid, and where what it says goes."""


def flips_of(shape: Sequence[int]) -> list[Flip]:
    """Return every combination of the axes along which a case extends: 8 of a volume, 4 of a single slice."""
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    return [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]


def sweep(runner: Runner, windows: Sequence[Work], flips: Sequence[Flip] = PLAIN) -> Iterator[list[Work]]:
    """Run windows in their order and add the mean over the flips to their canvases; yields those that are done, batch by batch.

    While a window takes long, an empty list is yielded now and then: who closes the generator waits for :data:`PATIENCE` at most, and
    what is left of that window is run in vain.
    """
    waiting, threads = list(windows), torch.get_num_threads()
    while waiting:
        batch = [waiting[0], *itertools.takewhile(partial(_alike, waiting[0]), waiting[1 : runner.batch])]
        del waiting[: len(batch)]
        images = np.stack([grid.window(window) for grid, _, window in batch])
        mean = np.zeros((len(batch), *images.shape[2:]), np.float32)
        for flip in flips:
            found = _thread().submit(_probability, runner, np.flip(images, tuple(axis + 2 for axis in flip)), threads)
            try:
                while not wait([found], PATIENCE).done:
                    yield []
            finally:
                found.cancel()  # if it still waits for a window that somebody else has given up
            mean += np.flip(found.result(), tuple(axis + 1 for axis in flip)) / np.float32(len(flips))
        for (_, canvas, window), values in zip(batch, mean, strict=True):
            canvas.add(window, values)
        yield batch


@cache
def _thread() -> ThreadPoolExecutor:
    """Return the one thread that runs windows: each new one would leave memory behind in pools of its own."""
    return ThreadPoolExecutor(1, "breastseg-window", _stand_back)


def _probability(runner: Runner, windows: Map, threads: int) -> Map:
    if torch.get_num_threads() != threads:  # which counts for each thread that asks for it
        torch.set_num_threads(threads)
    return runner.probability(windows)


def _stand_back() -> None:
    """Let this thread, and those that it starts to compute with, wait for all others that want a processor: a window that is drawn."""
    if sys.platform == "linux":  # elsewhere a thread cannot be told apart from its process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _alike(one: Work, other: Work) -> bool:
    """Tell whether two windows have the same size, so that they can go through the network together."""
    return [high - low for low, high in one[2]] == [high - low for low, high in other[2]]
