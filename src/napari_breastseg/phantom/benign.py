"""Benign masses such as fibroadenomas, which are no tumour truth: round or lobulated, smooth, homogeneous, and enhancing on and on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_breastseg.phantom.anatomy import FAT, GLAND, Anatomy
from napari_breastseg.phantom.fields import Field, Spacing, stamp


@dataclass(frozen=True)
class BenignMass:
    """One benign mass: its place, and the same baseline and kinetics in every voxel of it.

    Attributes
    ----------
    cover : ndarray, shape (z, y, x), float32
        Share of each voxel that is mass.
    s0 : float
        Baseline signal, a.u.
    amplitude, alpha, beta : float
        Of the kinetic model, alpha and beta in 1/min; beta is negative, so that the enhancement goes on (persistent to plateau).
    """

    cover: Field
    s0: float
    amplitude: float
    alpha: float
    beta: float


def draw_benign_mass(rng: np.random.Generator, anatomy: Anatomy, spacing: Spacing, rate: float = 1.0) -> BenignMass | None:
    """Place one benign mass of 6 to 30 mm in the breast, in gland if there is any; None if the breast has no room for it.

    `rate` multiplies how fast it takes up contrast agent.
    """
    shape = anatomy.tissue.shape
    radius = float(np.exp(rng.uniform(np.log(3), np.log(15))))
    room = anatomy.breast & (anatomy.depth > min(1.2 * radius, 12.0)) & np.isin(anatomy.tissue, (FAT, GLAND))
    in_gland = room & (anatomy.tissue == GLAND)
    places = np.argwhere(in_gland if in_gland.any() else room)
    if len(places) == 0:
        return None
    centre = (places[rng.integers(len(places))] - (np.array(shape) - 1) / 2) * spacing
    cover = np.zeros(shape, np.float32)
    # One ball is round; balls that overlap by more than half are lobes with shallow notches.
    for _ in range(int(rng.integers(1, 5))):
        shift = rng.normal(size=3)
        shift *= rng.uniform(0, 0.5) * radius / np.linalg.norm(shift)
        stamp(cover, centre + shift, radius * rng.uniform(0.65, 0.9), spacing)
    cover *= anatomy.breast
    return BenignMass(cover, rng.uniform(75, 130), rng.uniform(0.7, 1.9), rate * rng.uniform(0.6, 2.0), rng.uniform(-0.1, -0.04))
