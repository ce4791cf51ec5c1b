"""Branching vessels that run from the chest wall towards the nipple and enhance early: what a tumour is confused with most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_breastseg.phantom.anatomy import Anatomy
from napari_breastseg.phantom.fields import Field, Spacing, stamp


def draw_vessels(rng: np.random.Generator, anatomy: Anatomy, spacing: Spacing) -> Field:
    """Return the share of each voxel that is vessel, from 0 to 1, shape (z, y, x)."""
    cover = np.zeros(anatomy.tissue.shape, np.float32)
    points = np.argwhere(anatomy.breast)
    if len(points) == 0:
        return cover
    middle = (np.array(cover.shape) - 1) / 2
    for _ in range(int(rng.integers(8, 34))):
        start = (points[rng.integers(len(points))] - middle) * spacing
        nipple = anatomy.nipples[int(rng.integers(len(anatomy.nipples)))]
        to_nipple = nipple - start
        direction = to_nipple / max(float(np.linalg.norm(to_nipple)), 1.0) + 0.4 * rng.normal(size=3)
        radius = float(np.exp(rng.uniform(np.log(0.35), np.log(1.8))))
        for way in (1, -1):
            _grow(rng, cover, anatomy, start, way * direction, radius, spacing, branches=3)
    return cover


def _grow(
    rng: np.random.Generator, cover: Field, anatomy: Anatomy, position: npt.NDArray[np.float64], direction: npt.NDArray[np.float64],
    radius: float, spacing: Spacing, branches: int,
) -> None:  # fmt: skip
    """Follow a correlated random walk in steps of 0.6 voxels, tapering, branching, until it leaves the breast or gets too thin."""
    middle = (np.array(cover.shape) - 1) / 2
    step = 0.6 * min(spacing)
    wobble = rng.uniform(0.02, 0.08)
    for _ in range(int(rng.uniform(40, 160) / step)):
        direction = direction + wobble * rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        position = position + step * direction
        index = np.round(position / spacing + middle).astype(int)
        if (index < 0).any() or (index >= cover.shape).any() or not anatomy.breast[tuple(index)]:
            return
        stamp(cover, position, radius, spacing)
        radius *= 1 - 0.004 * step
        if branches and rng.random() < 0.012 * step:
            _grow(
                rng, cover, anatomy, position, direction + 0.9 * rng.normal(size=3), radius * rng.uniform(0.5, 0.9), spacing, branches - 1
            )
        if radius < 0.25:
            return
