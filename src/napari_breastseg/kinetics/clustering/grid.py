"""One form for the curves of every protocol: shape without amplitude, on a fixed grid of times.

HCNet normalises each voxel by the least and the greatest of its phases, which keeps the shape of a curve and drops its amplitude. Protocols
differ in their times, so curves are then interpolated to eight nodes; a node outside the acquisition is masked, never extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import InputError

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NODES = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0, 420.0, 540.0)
"""Seconds after the injection."""
LEAST_PHASES = 3
"""One before the injection and two after it."""
LEAST_SECONDS = NODES[2]
"""The last phase must reach the third node: two say nothing of what follows the uptake."""
SMALLEST = 1e-6
"""Smallest range that a curve is divided by."""


@dataclass(frozen=True)
class Grid:
    """Resampling from the phases of one protocol to the nodes.

    Attributes
    ----------
    matrix : ndarray, shape (phase, node), float32
        ``curves @ matrix`` has the curves at the nodes, 0 at masked ones.
    mask : ndarray, shape (node,), float32
        1 where the node lies within the acquisition.
    """

    matrix: Array
    mask: Array

    @property
    def reach(self) -> int:
        """How many of the nodes, from the first on, lie within the acquisition."""
        return int(self.mask.sum())


@lru_cache(maxsize=256)
def grid_of(seconds: tuple[float, ...], reach: int = len(NODES)) -> Grid:
    """Return the resampling of phases taken at `seconds`.

    Parameters
    ----------
    seconds : tuple of float
        When each phase was taken, s after the injection, increasing. Phases at or before 0 are baselines: their mean stands at 0.
    reach : int
        Nodes that count at most, from the first on: what lies behind is masked.

    Raises
    ------
    InputError
        If there are fewer than three phases, none is a baseline, fewer than two follow the injection, the times do not increase or the
        last is too early.
    """
    baselines = count_baselines(seconds)
    times = np.array([0.0, *seconds[baselines:]])
    nodes = np.array(NODES)
    mask = (nodes <= times[-1]) & (np.arange(len(nodes)) < reach)
    rows = np.stack([np.interp(nodes, times, unit) for unit in np.eye(len(times))]) * mask
    shares = np.repeat(rows[:1] / baselines, baselines, axis=0)
    return Grid(np.concatenate([shares, rows[1:]]).astype(np.float32), mask.astype(np.float32))


def count_baselines(seconds: Sequence[float]) -> int:
    """Check the times of the phases (see :func:`grid_of`) and return how many lie at or before the injection."""
    if len(seconds) < LEAST_PHASES:
        raise InputError(
            f"Clustering of curves needs at least {LEAST_PHASES} phases, one before the contrast and two after it, but there are "
            f"{len(seconds)}. Load the complete series."
        )
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise InputError(f"The phase times {tuple(seconds)} s do not increase. Check the order of the phases.")
    baselines = int((np.asarray(seconds) <= 0).sum())
    if baselines < 1 or len(seconds) - baselines < 2:
        raise InputError(
            f"{baselines} of the {len(seconds)} phases lie before the contrast, but clustering of curves needs one there and two after it. "
            "Check the time of the injection."
        )
    if seconds[-1] < LEAST_SECONDS:
        raise InputError(
            f"The last phase was taken {seconds[-1]:.0f} s after the contrast, but clustering of curves needs one at {LEAST_SECONDS:.0f} s "
            "or later. Load the complete series."
        )
    return baselines


def normalise(signals: Array) -> tuple[Array, Array]:
    """Scale each curve to the range from 0 to 1.

    Parameters
    ----------
    signals : ndarray, shape (phase, voxel), float32

    Returns
    -------
    values : ndarray, shape (phase, voxel), float32
        0 for a constant curve.
    range : ndarray, shape (voxel,), float32
        Greatest less least signal, in the signal's own units.
    """
    least = signals.min(axis=0)
    extent = signals.max(axis=0) - least
    values: Array = (signals - least) / np.maximum(extent, np.float32(SMALLEST))
    return values, extent
