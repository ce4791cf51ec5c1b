"""Curves that a codebook is fitted to, and the batches that are drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering.grid import LEAST_SECONDS, Array, Mask, count_baselines, grid_of, normalise


@dataclass(frozen=True)
class Curves:
    """Normalised curves of one case.

    Parameters
    ----------
    values : ndarray, shape (phase, voxel), float32
        Each curve between 0 and 1, as :func:`~napari_breastseg.kinetics.clustering.grid.normalise` returns it.
    seconds : tuple of float
        When each phase was taken, s after the injection; phases at or before 0 are baselines.
    tumour : ndarray of bool, shape (voxel,), optional
        Which voxels are tumour; None if unknown.

    Raises
    ------
    InputError
        If the shapes do not fit, there are no curves, values are not finite, or the times cannot be used.
    """

    values: Array
    seconds: tuple[float, ...]
    tumour: Mask | None = None

    def __post_init__(self) -> None:
        count_baselines(self.seconds)
        if self.values.ndim != 2 or len(self.values) != len(self.seconds) or self.values.shape[1] == 0:
            raise InputError(
                f"Expected curves of shape (phase, voxel) with {len(self.seconds)} phases, got {self.values.shape}. Give one time for each "
                "phase and at least one voxel that enhances."
            )
        if self.tumour is not None and self.tumour.shape != self.values.shape[1:]:
            raise InputError(f"{self.values.shape[1]} curves have {self.tumour.size} tumour flags. Give one flag for each curve.")
        if not np.isfinite(self.values).all():
            raise InputError("Curves hold values that are no numbers (NaN or infinite). Leave these voxels out.")


@dataclass(frozen=True)
class Batch:
    """Curves at the nodes and their masks, both of shape (voxel, node)."""

    nodes: Tensor
    mask: Tensor


def draw_batch(cases: Sequence[Curves], voxels: int, dropout: float, rng: np.random.Generator, early: bool = False) -> Batch:
    """Draw as many voxels of every case, half of them tumour where that is known, and leave out phases at random.

    Parameters
    ----------
    cases : sequence of Curves
    voxels : int
        In all.
    dropout : float
        Chance that a phase is left out, the same ones for all voxels of a case. All baselines, the first phase after the injection and
        the last one stay.
    rng : Generator
    early : bool
        Let every case end at a random one of the phases that it could end at.
    """
    share = -(-voxels // len(cases))
    drawn = [_resampled(curves, _choose(curves, share, rng), _keep(curves.seconds, dropout, early, rng)) for curves in cases]
    nodes, masks = (torch.from_numpy(np.concatenate(parts)[:voxels]) for parts in zip(*drawn, strict=True))
    return Batch(nodes, masks)


def _choose(curves: Curves, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose voxels with replacement; tumour and the rest in equal number if there are both."""
    if curves.tumour is None or curves.tumour.all() or not curves.tumour.any():
        return rng.integers(curves.values.shape[1], size=count)
    tumour, rest = np.flatnonzero(curves.tumour), np.flatnonzero(~curves.tumour)
    return np.concatenate([rng.choice(tumour, count // 2), rng.choice(rest, count - count // 2)])


def _keep(seconds: tuple[float, ...], dropout: float, early: bool, rng: np.random.Generator) -> Mask:
    first, phase = count_baselines(seconds), np.arange(len(seconds))
    ends = phase[(phase > first) & (np.array(seconds) >= LEAST_SECONDS)]
    last = rng.choice(ends) if early else ends[-1]
    keep: Mask = (phase <= first) | (phase == last) | ((phase < last) & (rng.random(len(phase)) >= dropout))
    return keep


def _resampled(curves: Curves, index: npt.NDArray[np.intp], keep: Mask) -> tuple[Array, Array]:
    """Return chosen curves at the nodes, as if the phases left out had never been taken."""
    grid = grid_of(tuple(t for t, kept in zip(curves.seconds, keep, strict=True) if kept))
    values, _ = normalise(curves.values[:, index][keep])
    return values.T @ grid.matrix, np.broadcast_to(grid.mask, (len(index), len(grid.mask)))
