"""Time-intensity curves of five kinetic families with their truth: what a clustering of curves is measured on.

The curves follow the model of :mod:`napari_breastseg.phantom.contrast`, with parameters drawn uniformly from ranges that do not overlap in
shape, and Rician noise. A voxel of a whole phantom is harder: its ranges overlap, phases move and borders mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import InputError
from napari_breastseg.phantom.contrast import Kinetics

Range = tuple[float, float]


@dataclass(frozen=True)
class Family:
    """Tissue whose curves have one shape: ranges of the amplitude A, the uptake rate alpha and the wash-out rate beta (1/min)."""

    name: str
    amplitude: Range
    alpha: Range
    beta: Range


FAMILIES = (
    Family("vessel", (1.5, 3.0), (5.0, 9.0), (0.12, 0.16)),
    Family("wash-out tumour", (1.2, 2.5), (2.5, 5.0), (0.05, 0.08)),
    Family("plateau tumour", (1.0, 2.2), (2.0, 4.0), (-0.01, 0.01)),
    Family("persistent gland", (0.5, 1.0), (0.8, 1.4), (-0.06, -0.03)),
    Family("slow skin", (0.8, 1.4), (0.10, 0.25), (-0.03, 0.0)),
)
BASELINE: Range = (60.0, 140.0)
"""Signal before contrast, a.u."""


@dataclass(frozen=True)
class FamilyCurves:
    """Curves and the family that each was drawn from.

    Attributes
    ----------
    signals : ndarray, shape (phase, voxel), float32
    family : ndarray, shape (voxel,), uint8
        Index into ``FAMILIES``.
    """

    signals: npt.NDArray[np.float32]
    family: npt.NDArray[np.uint8]


def make_curves(seed: int, seconds: Sequence[float], voxels: int = 4000, snr: float = 20.0) -> FamilyCurves:
    """Draw curves of every family in equal number; the same seed and options give the same curves.

    Parameters
    ----------
    seed : int
    seconds : sequence of float
        When each phase was taken, s after the injection.
    voxels : int
        Curves of each family.
    snr : float
        Mean signal before contrast over the standard deviation of the noise in either channel of the scanner; infinite for none.

    Raises
    ------
    InputError
        If there are no voxels or the signal-to-noise ratio is not positive.
    """
    if voxels < 1 or not snr > 0:
        raise InputError("Curves need at least one voxel of each family and a positive signal-to-noise ratio. Ask for more.")
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(len(FAMILIES), dtype=np.uint8), voxels)

    def draw(ranges: Iterable[Range]) -> npt.NDArray[np.float32]:
        return np.concatenate([rng.uniform(low, high, voxels) for low, high in ranges]).astype(np.float32)

    amplitude, alpha, beta = draw(f.amplitude for f in FAMILIES), draw(f.alpha for f in FAMILIES), draw(f.beta for f in FAMILIES)
    kinetics = Kinetics(rng.uniform(*BASELINE, len(family)).astype(np.float32), amplitude, alpha, beta)
    clean = np.stack([kinetics.signal(t) for t in seconds])
    noise = rng.standard_normal((2, *clean.shape), np.float32) * np.float32(np.mean(BASELINE) / snr)
    return FamilyCurves(np.hypot(clean + noise[0], noise[1]), family)
