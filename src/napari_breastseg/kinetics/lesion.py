"""Curves and kinetics of a lesion, and the curve around one voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Case, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import curves
from napari_breastseg.kinetics.curves import CURVES, CurveSummary, Thresholds, Values, describe
from napari_breastseg.kinetics.reading import Mask, grown, inside, read, slabs
from napari_breastseg.kinetics.timing import Timing


@dataclass(frozen=True)
class Curve:
    """Signal of some voxels over the phases.

    Attributes
    ----------
    mean, sd : ndarray, shape (phase,), float64
    voxels : int
    """

    mean: npt.NDArray[np.float64]
    sd: npt.NDArray[np.float64]
    voxels: int


@dataclass(frozen=True)
class WorstCurve:
    """The most suspicious 3 x 3 x 3 voxels of a lesion.

    Attributes
    ----------
    mean : ndarray, shape (phase,), float64
    place : tuple of int
        The voxel in the middle (z, y, x).
    voxels : int
        How many of the 27 lie in the lesion; only those are averaged.
    summary : CurveSummary
    """

    mean: npt.NDArray[np.float64]
    place: tuple[int, int, int]
    voxels: int
    summary: CurveSummary


@dataclass(frozen=True)
class LesionKinetics:
    """Kinetics of a lesion.

    Attributes
    ----------
    ml : float
    curve : Curve
        Of all its voxels.
    summary : CurveSummary
        Of the mean curve: mean PE and SER are its `pe` and `ser`, which the noise of single voxels does not touch.
    peak_pe : float
        Highest PE (%) of a 3 x 3 x 3 neighbourhood, at PE's phase.
    shares : tuple of float, or None
        % of the voxels of each of ``CURVES``; None where only one phase lies after the injection.
    worst : WorstCurve, or None
        None likewise.
    words : str
    """

    ml: float
    curve: Curve
    summary: CurveSummary
    peak_pe: float
    shares: tuple[float, ...] | None
    worst: WorstCurve | None
    words: str


def lesion_curve(case: Case, mask: npt.NDArray[Any]) -> Curve:
    """Return mean and SD of the voxels where a mask (z, y, x) is 1.

    Raises
    ------
    InputError
        If the mask is empty or not on the case's grid, or voxels are not finite.
    """
    chosen = inside(case, mask, "The lesion's mask")
    return _curve(np.concatenate([read(case, part)[:, chosen[slices(part)]] for part in _parts(case, chosen)], axis=1))


def neighbourhood_curve(case: Case, index: tuple[int, int, int]) -> Curve:
    """Return mean and SD of the 3 x 3 x 3 voxels around one (z, y, x), fewer at the image's edge. Only those are read.

    Raises
    ------
    InputError
        If the voxel lies outside the image, or voxels are not finite.
    """
    if not all(0 <= i < n for i, n in zip(index, case.shape, strict=True)):
        raise InputError(f"The voxel {index} lies outside {case.name}, which has {case.shape} voxels (z, y, x). Choose one within.")
    z, y, x = index
    return _curve(read(case, grown(((z, z + 1), (y, y + 1), (x, x + 1)), case)).reshape(case.phases, -1))


def lesion_kinetics(case: Case, timing: Timing, mask: npt.NDArray[Any], thresholds: Thresholds | None = None) -> LesionKinetics:
    """Measure the kinetics of the lesion where a mask (z, y, x) is 1.

    The worst curve is that of the most suspicious neighbourhood of 3 x 3 x 3 voxels: wash-out before plateau before persistent before no
    uptake, and among equals the one that falls fastest (or rises slowest) from the early phase on. Those with all 27 voxels in the lesion
    are considered; in a lesion without any, those with the most. Those whose last signal is below the baseline come last: no tissue
    washes out more contrast than it took up, so that they show motion or an artefact.

    Raises
    ------
    InputError
        If the mask is empty or not on the case's grid, the times are not those of this case, or voxels are not finite.
    """
    chosen = inside(case, mask, "The lesion's mask")
    signals, around, filled, places = _gather(case, chosen)
    curve = _curve(signals)
    summary = describe(curve.mean, timing, thresholds)
    thick = filled == filled.max()
    peak = float(curves.percent_enhancement(around[timing.pe], curves.baseline(around, timing))[thick].max())
    ml = case.geometry.voxel_ml * curve.voxels
    words = f"{ml:.2f} mL, PE {summary.pe:.0f} % at {timing.seconds[timing.pe]:.0f} s (highest {peak:.0f} %)"
    if not timing.delayed:
        return LesionKinetics(ml, curve, summary, peak, None, None, f"{words}; {summary.words}")
    types = curves.curve_type(signals, timing, thresholds)
    shares = tuple(100 * float(n) / curve.voxels for n in np.bincount(types, minlength=len(CURVES)))
    worst = _worst(around[:, thick], int(filled.max()), places[thick], timing, thresholds)
    split = ", ".join(f"{share:.0f} % {name}" for name, share in zip(CURVES, shares, strict=True))
    words += f", SER {summary.ser:.2f}; {summary.words}; {split}; worst {worst.summary.words}"
    return LesionKinetics(ml, curve, summary, peak, shares, worst, words)


def _worst(around: Values, voxels: int, places: npt.NDArray[np.intp], timing: Timing, thresholds: Thresholds | None) -> WorstCurve:
    """Choose among neighbourhoods (phase, n) at places (n, 3)."""
    plausible = around[timing.last] >= curves.baseline(around, timing)
    types, slopes = curves.curve_type(around, timing, thresholds), curves.wash_out(around, timing)
    best = np.lexsort((slopes, -types.astype(int), ~plausible))[0]  # the types are numbered by suspicion
    mean = around[:, best].astype(np.float64)
    z, y, x = (int(i) for i in places[best])
    return WorstCurve(mean, (z, y, x), voxels, describe(mean, timing, thresholds))


def _gather(case: Case, chosen: Mask) -> tuple[Values, Values, npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """Return signals and neighbourhoods' means (phase, n) of the mask's n voxels, how many of each 27 lie in it, and the places (n, 3)."""
    found = []
    for part in _parts(case, chosen):
        margin = grown(part, case)
        signals, mask = read(case, margin), chosen[slices(margin)]
        mine = mask & _is_part(part, margin)
        filled = _sum27(mask.astype(np.float32))[mine]
        around = np.stack([_sum27(phase * mask)[mine] for phase in signals]) / filled
        place = np.argwhere(mine) + [low for low, _ in margin]
        found.append((signals[:, mine], around, np.rint(filled).astype(np.uint8), place))
    signals_, arounds, counts, places = zip(*found, strict=True)
    return np.concatenate(signals_, 1), np.concatenate(arounds, 1), np.concatenate(counts), np.concatenate(places)


def _parts(case: Case, chosen: Mask) -> list[Box]:
    """Cut the box around a mask into slabs, and leave out those without any of it."""
    box = box_around(chosen)
    assert box is not None
    return [slab for slab in slabs(case, box) if chosen[slices(slab)].any()]


def _is_part(part: Box, margin: Box) -> Mask:
    """Return where a box lies in the one that it was grown to."""
    where = np.zeros([high - low for low, high in margin], np.bool_)
    z, y, x = (slice(low - start, high - start) for (low, high), (start, _) in zip(part, margin, strict=True))
    where[z, y, x] = True
    return where


def _sum27(volume: Values) -> Values:
    """Sum over the 3 x 3 x 3 voxels around each; nothing lies outside."""
    mean: Values = ndimage.uniform_filter(volume, 3, mode="constant")
    return mean * np.float32(27)


def _curve(signals: Values) -> Curve:
    """Average signals (phase, n)."""
    return Curve(signals.mean(axis=1, dtype=np.float64), signals.std(axis=1, dtype=np.float64), signals.shape[1])
