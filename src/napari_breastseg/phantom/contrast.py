"""Contrast kinetics of every voxel by the empirical mathematical model of Fan et al.

``S(t) = S0 (1 + A (1 - exp(-alpha t)) exp(-beta t))``, t in minutes after the injection; A is the upper limit of enhancement, alpha
the uptake rate and beta the wash-out rate in 1/min (Fan X, Medved M, Karczmar GS, et al. Magn Reson Imaging 2007;25:593-603).
Negative beta gives a persistent curve, zero a plateau, positive wash-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.phantom.anatomy import AIR, FAT, GLAND, HEART, LIVER, LUNG, MUSCLE, NIPPLE, NODE, SKIN, Anatomy
from napari_breastseg.phantom.benign import BenignMass
from napari_breastseg.phantom.fields import Field, Spacing, fractal_noise, smooth_noise
from napari_breastseg.phantom.lesions import Lesion

NO_UPTAKE, PERSISTENT, PLATEAU, WASHOUT = 0, 1, 2, 3
CURVES = ("no uptake", "persistent", "plateau", "wash-out")


@dataclass
class Kinetics:
    """Maps of the model's parameters, each of shape (z, y, x), float32: s0 (a.u.), amplitude, alpha and beta (1/min)."""

    s0: Field
    amplitude: Field
    alpha: Field
    beta: Field

    def signal(self, seconds: float) -> Field:
        """Noise-free signal `seconds` after the injection; before it, the baseline."""
        return self.s0 * (1 + self.enhancement(seconds))

    def enhancement(self, seconds: float) -> Field:
        """Relative enhancement (S - S0) / S0."""
        t = np.float32(max(seconds, 0.0) / 60)
        rise: Field = self.amplitude * (1 - np.exp(-self.alpha * t)) * np.exp(-self.beta * t)
        return rise

    def curve_types(self, times: tuple[float, ...]) -> npt.NDArray[np.uint8]:
        """Curve type per voxel from the exact signal: last phase against the first after the injection, +-10 %; below 20 % none."""
        after = [t for t in times if t > 0]
        early, late = self.enhancement(after[0]), self.enhancement(after[-1])
        change = (late - early) / (1 + early)
        peak = np.maximum(early, late)
        types = np.where(change > 0.1, PERSISTENT, np.where(change < -0.1, WASHOUT, PLATEAU))
        return np.where(peak < 0.2, NO_UPTAKE, types).astype(np.uint8)


# Baseline signal with fat suppression: lowest and highest value, a.u. (without it fat is the brightest tissue).
_BASELINE = {
    AIR: (0, 0),
    FAT: (28, 55),
    GLAND: (70, 125),
    SKIN: (55, 110),
    MUSCLE: (45, 90),
    LUNG: (4, 12),
    HEART: (45, 80),
    LIVER: (60, 100),
    NIPPLE: (70, 120),
    NODE: (60, 110),
}
# Amplitude, alpha and beta of each tissue: ranges.
_UPTAKE = {
    FAT: ((0.0, 0.06), (0.3, 1.0), (0, 0)),
    SKIN: ((0.1, 0.9), (0.5, 2.0), (-0.03, 0.02)),
    MUSCLE: ((0.1, 0.4), (0.5, 2.0), (-0.02, 0.02)),
    HEART: ((1.0, 2.5), (4, 10), (0.02, 0.08)),
    LIVER: ((0.4, 1.0), (1, 3), (-0.02, 0.03)),
    NIPPLE: ((0.3, 1.8), (0.6, 3), (-0.05, 0.02)),
    NODE: ((0.6, 2.0), (1.5, 5), (0.02, 0.12)),
}


def make_kinetics(
    rng: np.random.Generator, anatomy: Anatomy, vessels: Field, lesions: list[Lesion], spacing: Spacing, fat_suppressed: bool,
    benign: Sequence[BenignMass] = (),
) -> Kinetics:  # fmt: skip
    """Give every voxel its baseline and kinetics; vessels, benign masses, then lesions are mixed in by the share they fill."""
    tissue, shape = anatomy.tissue, vessels.shape
    assert len(shape) == 3
    tables = np.zeros((4, len(_BASELINE) + 3), np.float32)
    for label, (low, high) in _BASELINE.items():
        tables[0, label] = rng.uniform(low, high)
    if not fat_suppressed:
        tables[0, FAT] = rng.uniform(170, 260)
    for label, ranges in _UPTAKE.items():
        tables[1:, label] = [rng.uniform(*r) for r in ranges]
    maps = Kinetics(*(table[tissue] for table in tables))
    maps.s0 *= 1 + np.float32(0.08) * fractal_noise(rng, shape, spacing, 10.0, 3)
    _background_enhancement(rng, maps, tissue == GLAND, spacing)
    skin = tissue == SKIN
    maps.amplitude[skin] *= np.clip(1 + 0.6 * smooth_noise(rng, shape, spacing, 30.0), 0, None)[skin]
    _mix(maps, vessels, rng.uniform(60, 110), rng.uniform(0.9, 3.2), rng.uniform(2.5, 8), rng.uniform(0.0, 0.08))
    for mass in benign:
        _mix(maps, mass.cover, mass.s0, mass.amplitude, mass.alpha, mass.beta)
    for lesion in lesions:
        beta = rng.choice([rng.uniform(-0.1, -0.03), rng.uniform(-0.015, 0.015), rng.uniform(0.03, 0.12)], p=[0.15, 0.3, 0.55])
        spread = np.float32(rng.uniform(0.005, 0.04)) * fractal_noise(rng, shape, spacing, max(lesion.diameter / 2, 3), 2)
        s0 = rng.uniform(80, 140) * (1.0 if fat_suppressed else 0.9)
        _mix(maps, lesion.cover, s0, rng.uniform(0.9, 2.8) * lesion.uptake, rng.uniform(1.2, 5), beta + spread)
    return maps


def _background_enhancement(rng: np.random.Generator, maps: Kinetics, gland: npt.NDArray[np.bool_], spacing: Spacing) -> None:
    """Background parenchymal enhancement: from minimal to marked, patchy, slow and persistent, with a few brighter foci."""
    shape = gland.shape
    assert len(shape) == 3
    level = rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.8)], p=[0.4, 0.4, 0.2])
    patches = np.clip(1 + 0.5 * fractal_noise(rng, shape, spacing, rng.uniform(8, 25), 3), 0.1, None)
    maps.amplitude[gland] = (level * patches)[gland]
    maps.alpha[gland] = rng.uniform(0.3, 1.5)
    maps.beta[gland] = rng.uniform(-0.08, 0.0)
    foci = gland & (smooth_noise(rng, shape, spacing, rng.uniform(2.5, 4.5)) > rng.uniform(3.2, 5.0))
    maps.amplitude[foci] += rng.uniform(0.2, 1.0)


def _mix(maps: Kinetics, cover: Field, s0: float, amplitude: float | Field, alpha: float, beta: float | Field) -> None:
    keep = 1 - cover
    maps.s0[...] = keep * maps.s0 + cover * np.float32(s0)
    maps.amplitude[...] = keep * maps.amplitude + cover * amplitude
    maps.alpha[...] = np.where(cover > 0.1, np.float32(alpha), maps.alpha)
    maps.beta[...] = np.where(cover > 0.1, beta, maps.beta)
