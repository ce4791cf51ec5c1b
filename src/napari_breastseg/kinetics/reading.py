"""Parts of a case in memory: all phases of a box, or of a few slices at a time, whether the case is in memory or lazy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import TUMOUR, Box, Case, slices
from napari_breastseg.errors import InputError

SAMPLES = 2**25
"""Voxels, each phase counted, that are read from a case at a time (128 MiB)."""

Mask = npt.NDArray[np.bool_]


def read(case: Case, box: Box, phases: Sequence[int] | None = None) -> npt.NDArray[np.float32]:
    """Return a box of a case in memory, shape (phase, z, y, x), float32: all phases, or those that are named.

    Raises
    ------
    InputError
        If it holds values that are not finite.
    """
    where = slices(box)
    if phases is None:
        signals = np.asarray(case.images[(slice(None), *where)], np.float32)
    else:
        signals = np.stack([np.asarray(case.images[(phase, *where)], np.float32) for phase in phases])
    if not np.isfinite(signals).all():
        raise InputError(f"{case.name} holds voxels that are no numbers (NaN or infinite). Export it again, or replace them.")
    return signals


def slabs(case: Case, box: Box) -> Iterator[Box]:
    """Cut a box into boxes of whole slices, of which all phases together are at most `SAMPLES` voxels (or one slice)."""
    (z0, z1), rows, columns = box
    plane = case.phases * (rows[1] - rows[0]) * (columns[1] - columns[0])
    step = max(1, SAMPLES // plane)
    for low in range(z0, z1, step):
        yield (low, min(z1, low + step)), rows, columns


def grown(box: Box, case: Case) -> Box:
    """Return a box with one more voxel on every side, as far as the case reaches."""
    z, y, x = ((max(0, low - 1), min(length, high + 1)) for (low, high), length in zip(box, case.shape, strict=True))
    return z, y, x


def inside(case: Case, mask: npt.NDArray[Any], what: str) -> Mask:
    """Return where a mask of a case is 1 (255 is not decided, and left out), shape (z, y, x).

    Raises
    ------
    InputError
        If the mask is not on the case's grid, or empty; `what` names it.
    """
    if mask.shape != case.shape:
        raise InputError(f"{what} has the shape {mask.shape}, {case.name} {case.shape} (z, y, x). Use the mask of this case.")
    chosen: Mask = np.asarray(mask) == TUMOUR
    if not chosen.any():
        raise InputError(f"{what} is empty: there is nothing to measure. Mark the tissue first.")
    return chosen
