"""A stored examination read block by block with all phases, so that the curves of neighbouring voxels cost one reading."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

KEPT = 24
"""Blocks that are kept: 125 MB with chunks of 64 x 64 x 64 voxels and five phases."""
EDGE = 64
"""Voxels along a block of images that are not stored in chunks."""


class Blocks:
    """Images of shape (phase, z, y, x) that are read through a few blocks in memory. For one thread.

    Parameters
    ----------
    images : array
        Anything that is sliced as numpy arrays are.
    """

    def __init__(self, images: Any) -> None:
        self.shape, self.dtype = images.shape, images.dtype
        self._images = images
        chunks = getattr(images, "chunks", None) or ()
        stored = len(chunks) == 4 and all(isinstance(length, int) for length in chunks)  # Dask lists every chunk
        self._edges = tuple(chunks[1:]) if stored else (EDGE, EDGE, EDGE)
        self._kept: OrderedDict[tuple[int, ...], npt.NDArray[np.float32]] = OrderedDict()

    def __getitem__(self, index: tuple[slice, slice, slice, slice]) -> npt.NDArray[np.float32]:
        """Return a box of all phases; `index` has a start and a stop along z, y and x."""
        phases, *box = index
        values = np.empty((self.shape[0], *(part.stop - part.start for part in box)), np.float32)
        numbers = (range(part.start // edge, (part.stop - 1) // edge + 1) for part, edge in zip(box, self._edges, strict=True))
        for block in itertools.product(*numbers):
            there, here = [], []
            for number, part, edge in zip(block, box, self._edges, strict=True):
                low, high = max(part.start, number * edge), min(part.stop, (number + 1) * edge)
                there.append(slice(low - number * edge, high - number * edge))
                here.append(slice(low - part.start, high - part.start))
            values[(slice(None), *here)] = self._block(block)[(slice(None), *there)]
        return values[phases]

    def _block(self, number: tuple[int, ...]) -> npt.NDArray[np.float32]:
        block = self._kept.pop(number, None)
        if block is None:
            place = (slice(n * edge, min((n + 1) * edge, size)) for n, edge, size in zip(number, self._edges, self.shape[1:], strict=True))
            block = np.asarray(self._images[(slice(None), *place)], np.float32)
            while len(self._kept) >= KEPT:
                self._kept.popitem(last=False)
        self._kept[number] = block
        return block
