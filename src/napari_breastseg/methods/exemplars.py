"""Synthetic cases of the domains that the starter weights know: what learning from corrections replays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.phantom import Phantom, make_phantom
from napari_breastseg.phantom.mammogram import MammogramPhantom, make_mammogram

LEAST_PIXELS = 100
"""Of a mass in a mammogram: one that the chest wall hides is drawn again."""
Exemplar = tuple[Case, npt.NDArray[np.uint8]]


def two_phases(seed: int, shape: tuple[int, int, int]) -> Exemplar:
    """Return a phantom before and after contrast, and its tumours."""
    phantom = make_phantom(seed, shape, phases=2)
    return phantom.case, phantom.tumour


def series(seed: int, shape: tuple[int, int, int]) -> Exemplar:
    """Return a :func:`series_phantom` and its tumours."""
    phantom = series_phantom(seed, shape)
    return phantom.case, phantom.tumour


def mammogram(seed: int, shape: tuple[int, int, int]) -> Exemplar:
    """Return a mammogram phantom of its own size, whatever the shape, and its masses: none in one of seven, one at least in the others."""
    if seed % 7 == 4:  # none of those on which the gate judges
        return _of(make_mammogram(seed, masses=0))
    drawn = (make_mammogram(seed + attempt * 10**6, masses=1) for attempt in range(100))
    return _of(next(phantom for phantom in drawn if phantom.mask.sum() >= LEAST_PIXELS))


def _of(phantom: MammogramPhantom) -> Exemplar:
    return phantom.case, phantom.mask


def series_phantom(seed: int, shape: tuple[int, int, int]) -> Phantom:
    """Return a phantom of 4 to 6 phases with up to two benign masses, which only their kinetics tell from tumours."""
    return make_phantom(seed, shape, phases=4 + seed % 3, benign=seed % 3)
