"""Tumours: 4 to 50 mm, smooth to spiculated, with homogeneous, heterogeneous or rim uptake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_breastseg.phantom.anatomy import FAT, GLAND, Anatomy
from napari_breastseg.phantom.fields import Field, Spacing, coordinates, fractal_noise, smooth_noise, stamp

Uptake = Literal["homogeneous", "heterogeneous", "rim"]


@dataclass(frozen=True)
class Lesion:
    """One tumour.

    Attributes
    ----------
    cover : ndarray, shape (z, y, x), float32
        Share of each voxel that is tumour.
    uptake : ndarray, shape (z, y, x), float32
        Relative uptake inside, mean about 1.
    diameter : float
        Nominal diameter in mm.
    pattern : str
        "homogeneous", "heterogeneous" or "rim".
    """

    cover: Field
    uptake: Field
    diameter: float
    pattern: Uptake


def draw_lesion(rng: np.random.Generator, anatomy: Anatomy, spacing: Spacing, diameter: float | None = None) -> Lesion | None:
    """Place one tumour in the breast, more often in gland; None if the breast has no room for it.

    Parameters
    ----------
    diameter : float, optional
        mm; drawn log-uniformly from 4 to 50 if not given.
    """
    shape = anatomy.tissue.shape
    assert len(shape) == 3
    size = float(np.exp(rng.uniform(np.log(4), np.log(50)))) if diameter is None else diameter
    room = anatomy.breast & (anatomy.depth > min(0.6 * size, 12.0)) & np.isin(anatomy.tissue, (FAT, GLAND))
    in_gland = room & (anatomy.tissue == GLAND)
    chosen = in_gland if in_gland.any() and rng.random() < 0.6 else room
    places = np.argwhere(chosen)
    if len(places) == 0:
        return None
    centre = (places[rng.integers(len(places))] - (np.array(shape) - 1) / 2) * spacing
    z, y, x = coordinates(shape, spacing)
    axes = size / 2 * np.exp(rng.normal(0, 0.15, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    offsets = [z - centre[0], y - centre[1], x - centre[2]]
    radius = np.sqrt(sum(((turn[i, 0] * offsets[0] + turn[i, 1] * offsets[1] + turn[i, 2] * offsets[2]) / axes[i]) ** 2 for i in range(3)))
    rough = rng.uniform(0.02, 0.3)
    radius = radius + rough * fractal_noise(rng, shape, spacing, max(size / 1.5, 4.0), 3)
    voxel = float(np.prod(spacing)) ** (1 / 3)
    cover: Field = np.clip((1 - radius) * (size / 2) / voxel + 0.5, 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        _spiculate(rng, cover, centre, size, spacing)
    # Where the body ends, the tumour ends.
    cover *= (anatomy.depth > 0) & (anatomy.breast | (anatomy.depth > 3))
    pattern: Uptake = rng.choice(["homogeneous", "heterogeneous", "rim"], p=[0.35, 0.45, 0.2] if size > 10 else [0.7, 0.3, 0.0])
    uptake = np.ones(shape, np.float32) + np.float32(0.06) * smooth_noise(rng, shape, spacing, 3.0)
    if pattern == "heterogeneous":
        uptake += np.float32(rng.uniform(0.1, 0.3)) * fractal_noise(rng, shape, spacing, size / 2, 3)
    if pattern == "rim":
        core = np.clip((0.75 - radius) / 0.25, 0, 1) * rng.uniform(0.4, 0.85)
        uptake = uptake * (1 - core).astype(np.float32)
    return Lesion(cover, np.clip(uptake, 0.1, None), size, pattern)


def _spiculate(rng: np.random.Generator, cover: Field, centre: npt.NDArray[np.float64], size: float, spacing: Spacing) -> None:
    """Add tapering spicules that leave the surface radially."""
    for _ in range(int(rng.integers(5, 25))):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        length = size / 2 * rng.uniform(0.2, 0.8)
        width = rng.uniform(0.4, 0.12 * size / 2 + 0.6)
        for t in np.arange(0, length, 0.5 * min(spacing)):
            stamp(cover, centre + (size / 2 * 0.9 + t) * direction, width * (1 - 0.8 * t / length), spacing)
