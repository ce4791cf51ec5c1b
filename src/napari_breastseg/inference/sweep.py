"""Windows through the network: in batches, in a given order, in mirror images if asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from napari_breastseg.case import Box
from napari_breastseg.inference.background import patiently
from napari_breastseg.inference.grids import Grid
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import Canvas, Map

Flip: TypeAlias = tuple[int, ...]
"""Axes of (z, y, x) that are mirrored."""
PLAIN: Sequence[Flip] = ((),)

Work: TypeAlias = tuple[Grid, Canvas, Box]
"""One window of a grid, and where what it says goes."""


def flips_of(shape: Sequence[int]) -> list[Flip]:
    """Return every combination of the axes along which a case extends: 8 of a volume, 4 of a single slice."""
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    return [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]


def sweep(
    runner: Runner, windows: Sequence[Work], flips: Sequence[Flip] = PLAIN, look: Callable[[Map], Map] | None = None
) -> Iterator[list[Work]]:
    """Run windows and add the mean over the flips to their canvases; yields those that are done, batch by batch.

    They are run in their order, but for those that fill up the batch of one of the same size before them. While a window takes long, an
    empty list is yielded now and then. The runner is asked for the probability of tumour, or for another of its answers, given as `look`.
    """
    ask = look or runner.probability
    waiting = list(windows)
    while waiting:
        batch = [work for work in waiting if _alike(waiting[0], work)][: runner.batch]
        taken = {id(work) for work in batch}
        waiting = [work for work in waiting if id(work) not in taken]
        images = np.stack([grid.window(window) for grid, _, window in batch])
        mean = np.zeros((len(batch), *images.shape[2:]), np.float32)
        for flip in flips:
            mirrored = np.flip(images, tuple(axis + 2 for axis in flip))
            found = yield from patiently(partial(ask, mirrored), list[Work]())
            mean += np.flip(found, tuple(axis + 1 for axis in flip)) / np.float32(len(flips))
        for (_, canvas, window), values in zip(batch, mean, strict=True):
            canvas.add(window, values)
        yield batch


def _alike(one: Work, other: Work) -> bool:
    """Tell whether two windows have the same size, so that they can go through the network together."""
    return [high - low for low, high in one[2]] == [high - low for low, high in other[2]]
