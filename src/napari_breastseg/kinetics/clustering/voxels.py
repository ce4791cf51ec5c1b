"""Voxels of a case as curves, read slab by slab: those that a codebook is fitted to, and all of the breast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import median_abs_deviation, studentized_range

from napari_breastseg.case import Case, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering.curves import Curves
from napari_breastseg.kinetics.clustering.grid import SMALLEST, Array, Mask, count_baselines, normalise
from napari_breastseg.kinetics.reading import inside, read, slabs
from napari_breastseg.progress import Job, Progress

ENHANCING = 0.1
"""A voxel enhances if the range of its signals is at least this share of the breast's median baseline"""
CHANCE = 0.01
"""and more than noise alone has with this chance. Without the second rule 75 to 98 % of the breast of four phantoms was clustered, of
which 6 to 16 % truly enhance: nearly all clusters were shapes of noise."""


class Slab(NamedTuple):
    """Breast voxels of some slices.

    Attributes
    ----------
    place : tuple of slice
        Where in the case (z, y, x).
    chosen : ndarray of bool, shape (z, y, x)
        Which voxels of the place.
    signals : ndarray, shape (phase, voxel), float32
        Their signals.
    """

    place: tuple[slice, slice, slice]
    chosen: Mask
    signals: Array


def read_breast(case: Case, breast: Mask, phases: Sequence[int] | None = None) -> Iterator[Slab]:
    """Read the breast voxels of a case, slab by slab; all phases, or those that are named.

    Raises
    ------
    InputError
        If the case holds values that are not finite.
    """
    box = box_around(breast)
    assert box is not None
    for part in slabs(case, box):
        place = slices(part)
        yield Slab(place, breast[place], read(case, part, phases)[:, breast[place]])


@dataclass(frozen=True)
class Floor:
    """Levels below which the signals of a case mean nothing, in their own units.

    Attributes
    ----------
    baseline : float
        Signal before contrast that is too low to divide by: a tenth of the breast's median.
    extent : float
        Range of a voxel's signals below which it does not enhance.
    """

    baseline: float
    extent: float


def floor_of(case: Case, seconds: Sequence[float], breast: Mask) -> Floor:
    """Measure the levels of a case on all of its breast, from the phases before contrast and the last two.

    The noise is told from the change between the last two phases, which is none in most of the breast: its median absolute deviation is
    robust to the tissue in which it is not. How far as many normal values as there are phases lie apart is the studentized range.
    """
    before, change = [], []
    for slab in read_breast(case, breast, [*range(count_baselines(seconds)), case.phases - 2, case.phases - 1]):
        before.append(slab.signals[:-2].mean(axis=0))
        change.append(slab.signals[-1] - slab.signals[-2])
    baseline = max(SMALLEST, ENHANCING * float(np.median(np.concatenate(before))))
    noise = float(median_abs_deviation(np.concatenate(change), scale="normal")) / np.sqrt(2)
    return Floor(baseline, max(baseline, noise * float(studentized_range.ppf(1 - CHANCE, case.phases, np.inf))))


def breast_of(case: Case, seconds: Sequence[float], breast: npt.NDArray[Any]) -> Mask:
    """Check the mask and the times that belong to a case and return the mask as bool.

    Raises
    ------
    InputError
        If the mask is empty or not on the case's grid, or the times are not one for each phase or cannot be used.
    """
    if len(seconds) != case.phases:
        raise InputError(f"{case.name}: {len(seconds)} phase times were given for {case.phases} phases. Give one time per phase.")
    count_baselines(seconds)
    return inside(case, breast, "The breast mask")


def draw_curves(
    case: Case, seconds: Sequence[float], breast: npt.NDArray[Any], tumour: npt.NDArray[Any] | None = None, voxels: int = 50_000,
    seed: int = 0,
) -> Job[Curves]:  # fmt: skip
    """Draw voxels that enhance, at random, for :func:`~napari_breastseg.kinetics.clustering.fit.fit_clusters`.

    Parameters
    ----------
    case : Case
        In memory or lazy; it is read slab by slab.
    seconds : sequence of float
        When each phase was taken, s after the injection; phases at or before 0 are baselines.
    breast, tumour : ndarray, shape (z, y, x)
        Masks, 1 inside. Without the tumour's, tissues take part by their size.
    voxels : int
        How many of the tumour, and of the rest of the breast; all of them if there are fewer.
    seed : int

    Raises
    ------
    InputError
        If a mask or the times do not fit the case, or no voxel enhances.
    """
    mask = breast_of(case, seconds, breast)
    if tumour is not None and tumour.shape != case.shape:
        raise InputError(f"The tumour mask has the shape {tumour.shape}, {case.name} {case.shape} (z, y, x). Use the mask of this case.")
    rng = np.random.default_rng(seed)
    yield Progress(0, case.shape[0], "Reading the baseline")
    floor = floor_of(case, seconds, mask)
    kept = [_Sample(case.phases, voxels) for _ in range(1 if tumour is None else 2)]
    for slab in read_breast(case, mask):
        values, extent = normalise(slab.signals)
        enhances = extent >= floor.extent
        flags = np.zeros(len(extent), bool) if tumour is None else (tumour[slab.place] == 1)[slab.chosen]
        for flag, sample in enumerate(kept):
            sample.offer(values[:, enhances & (flags == bool(flag))], rng)
        yield Progress(slab.place[0].stop, case.shape[0], "Reading curves")
    values = np.concatenate([sample.values for sample in kept], axis=1)
    if not values.shape[1]:
        raise InputError(f"No voxel of {case.name} enhances within the breast mask. Check the mask and the order of the phases.")
    known = None if tumour is None else np.repeat([False, True], [sample.values.shape[1] for sample in kept])
    return Curves(values, tuple(seconds), known)


class _Sample:
    """A uniform sample of a stream: of all that was offered, those whose random keys are least."""

    def __init__(self, phases: int, size: int) -> None:
        self.size = size
        self.values: Array = np.empty((phases, 0), np.float32)
        self._keys = np.empty(0)

    def offer(self, values: Array, rng: np.random.Generator) -> None:
        keys = np.concatenate([self._keys, rng.random(values.shape[1])])
        chosen = np.sort(np.argsort(keys, kind="stable")[: self.size])
        self.values = np.concatenate([self.values, values], axis=1)[:, chosen]
        self._keys = keys[chosen]
