"""Random scalar fields on a grid in mm: the raw material of texture, uptake and motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

Field = npt.NDArray[np.float32]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def smooth_noise(rng: np.random.Generator, shape: Shape, spacing: Spacing, length: float | tuple[float, float, float]) -> Field:
    """Band-limited Gaussian noise of correlation length `length` mm (one value or one per axis), mean 0 and variance about 1.

    A coarse random grid, one node every `length` mm, is interpolated linearly, which costs the same for every length.
    """
    lengths = (length,) * 3 if isinstance(length, (int, float)) else length
    nodes = [max(2, int(np.ceil(n * s / max(step, s))) + 1) for n, s, step in zip(shape, spacing, lengths, strict=True)]
    coarse = torch.from_numpy(rng.standard_normal(nodes, dtype=np.float32))[None, None]
    field: Field = interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    # Linear interpolation between independent nodes lowers the variance by (2/3)^3 on average.
    return field * np.float32(1.5**1.5)


def fractal_noise(
    rng: np.random.Generator,
    shape: Shape,
    spacing: Spacing,
    longest: float,
    octaves: int,
    stretch: tuple[float, float, float] = (1, 1, 1),
    persistence: float = 0.62,
) -> Field:
    """Sum of octaves of :func:`smooth_noise`, each `persistence` times as strong as the one before, standardised."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = longest / 2**octave
        total += np.float32(persistence**octave) * smooth_noise(
            rng, shape, spacing, (step * stretch[0], step * stretch[1], step * stretch[2])
        )
    standard: Field = (total - total.mean()) / max(float(total.std()), 1e-6)
    return standard


def coordinates(shape: Shape, spacing: Spacing) -> tuple[Field, Field, Field]:
    """Open (broadcastable) coordinates z, y, x in mm, with the origin at the centre of the grid."""
    axes = [((np.arange(n, dtype=np.float32) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(shape, spacing, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def stamp(field: Field, centre: npt.NDArray[np.float64], radius: float, spacing: Spacing) -> None:
    """Draw a ball (mm, origin at the grid's centre) into the coverage `field` in place, with a margin one voxel soft."""
    middle = (np.array(field.shape) - 1) / 2
    index = centre / np.array(spacing) + middle
    reach = (radius + max(spacing)) / np.array(spacing)
    low = np.maximum(np.floor(index - reach).astype(int), 0)
    high = np.minimum(np.ceil(index + reach).astype(int) + 1, field.shape)
    if (low >= high).any():
        return
    axes = [(np.arange(a, b) - i) * s for a, b, i, s in zip(low, high, index, spacing, strict=True)]
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    voxel = float(np.prod(spacing)) ** (1 / 3)
    # A ball thinner than a voxel covers only part of it: scale so that thin vessels fade instead of widening.
    cover = np.clip((radius - distance) / voxel + 0.5, 0, 1) * min(1.0, 2 * radius / voxel)
    window = field[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    np.maximum(window, cover, out=window)
