"""Intensity normalisation by the statistics of the body or of the image, and the input channels of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_breastseg.case import Box, slices
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.timing import timing_of
from napari_breastseg.preprocess.overview import CONSTANT, NOT_FINITE, Overview, first_post_contrast
from napari_breastseg.preprocess.resample import Volume, resample_read

SMALLEST = 1e-6
"""Smallest deviation that intensities are divided by."""


@dataclass(frozen=True)
class Inputs:
    """The channels that a network sees of a case, each a weighted sum of phases.

    Resampling is linear, too, so phases are resampled first and mixed on the small grid.

    Attributes
    ----------
    seen : Overview
        Of the case.
    phases : tuple of int
        The phases that are read.
    weights : tuple of tuple of float
        For each channel the weight of each of these phases.
    offsets : tuple of float
        What is then added to each channel.
    limits : tuple of float
        The lowest and the highest value of a channel; what lies beyond is cut off.
    clock : tuple of float
        Minutes after the injection of each channel, for a network that asks when; see :func:`with_clock`.
    levels : tuple of float
        Rising values of a channel that become 0 to 1 in equal steps, and what lies between them between these; nothing if not given.
    """

    seen: Overview
    phases: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    offsets: tuple[float, ...]
    limits: tuple[float, float] = (-np.inf, np.inf)
    clock: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def read(self, box: Box, shape: Sequence[int]) -> Volume:
        """Read the channels within a box of the case, resampled to `shape` (z, y, x); no phase is in memory as a whole.

        Returns
        -------
        ndarray, shape (channel, z, y, x), float32

        Raises
        ------
        InputError
            If there are voxels that are not finite.
        """
        z, y, x = slices(box)
        images = self.seen.case.images
        lengths = [high - low for low, high in box]

        def reading(phase: int) -> Volume:
            return resample_read(
                lambda slab: np.asarray(images[phase, z.start + slab.start : z.start + slab.stop, y, x], np.float32), lengths, shape
            )

        phases = np.stack([reading(phase) for phase in self.phases])
        mixed = np.tensordot(np.array(self.weights, np.float32), phases, 1)
        mixed += np.array(self.offsets, np.float32)[:, None, None, None]
        if not np.isfinite(mixed).all():
            raise InputError(NOT_FINITE.format(self.seen.case.name))
        if self.levels:
            mixed = np.interp(mixed, self.levels, np.linspace(0, 1, len(self.levels))).astype(np.float32)
        return mixed if self.limits == (-np.inf, np.inf) else mixed.clip(*self.limits)


ONE_PHASE = "{} has one phase, but this model needs one before contrast and one after it. Use hcnet instead."
MISSING = -1.0
"""What the clock of a phase shows that is not there."""


def with_clock(images: Volume, clock: Sequence[float]) -> Volume:
    """Put behind each phase a plane that holds its time, for networks of 4-D series; without a clock nothing changes.

    The planes are made where windows are cut, so that neither resampling nor augmentation touches them.

    Parameters
    ----------
    images : ndarray, shape (phase, z, y, x), float32
    clock : sequence of float
        Minutes after the injection of each phase, 0 before contrast, :data:`MISSING` where a phase is not there; or nothing.

    Returns
    -------
    ndarray, shape (2 phase, z, y, x), float32
    """
    if not clock:
        return images
    told = np.empty((2 * len(images), *images.shape[1:]), np.float32)
    told[0::2] = images
    told[1::2] = np.asarray(clock, np.float32)[:, None, None, None]
    return told


def post_contrast(seen: Overview) -> Inputs:
    """First post-contrast phase, standardised within the body: the paper's one channel."""
    mean, deviation = _statistics(seen.sample[seen.body])
    return Inputs(seen, (first_post_contrast(seen.case),), ((1 / deviation,),), (-mean / deviation,))


def post_and_subtraction(seen: Overview) -> Inputs:
    """First post-contrast phase, and its difference to the phase before contrast, both in units of the body's deviation.

    Raises
    ------
    InputError
        If the case has no phase before contrast.
    """
    case = seen.case
    if case.phases < 2:
        raise InputError(f"{case.name} has one phase, but this model needs one before and one after contrast. Use hcma-unet/paper instead.")
    mean, deviation = _statistics(seen.sample[seen.body])
    return Inputs(seen, (0, 1), ((0, 1 / deviation), (-1 / deviation, 1 / deviation)), (-mean / deviation, 0))


def before_contrast(seen: Overview) -> Inputs:
    """Return the phase before contrast, or the one image of a non-contrast examination, standardised within the body."""
    mean, deviation = _statistics(seen.sample[seen.body])
    return Inputs(seen, (0,), ((1 / deviation,),), (-mean / deviation,))


def before_and_after(seen: Overview) -> Inputs:
    """Return the phase before contrast and the first one after it, standardised within the body by the numbers of the latter.

    Raises
    ------
    InputError
        If the case has no phase before contrast.
    """
    if seen.case.phases < 2:
        raise InputError(ONE_PHASE.format(seen.case.name))
    mean, deviation = _statistics(seen.sample[seen.body])
    return Inputs(seen, (0, 1), ((1 / deviation, 0), (0, 1 / deviation)), (-mean / deviation,) * 2)


def as_taken(seen: Overview) -> Inputs:
    """Return every phase as it is."""
    count = seen.case.phases
    return Inputs(seen, tuple(range(count)), tuple(tuple(map(float, row)) for row in np.eye(count)), (0.0,) * count)


def all_phases(seen: Overview, most: int = 32) -> Inputs:
    """Every phase and when it was taken (TSESNet).

    Of more than `most` phases, those before contrast and right after it, the last one and others evenly between them.

    All phases are standardised within the body and cut off at the 0.1 and 99.9 percentiles by the same numbers, those of the first
    post-contrast one: a scale of each phase's own would destroy the kinetics.

    Raises
    ------
    InputError
        If the case has one phase only.
    """
    case = seen.case
    if case.phases < 2:
        raise InputError(ONE_PHASE.format(case.name))
    timing = timing_of(case)
    mean, deviation = _statistics(seen.sample[seen.body])
    low, high = np.quantile(seen.sample, [0.001, 0.999])
    count = min(case.phases, most)
    chosen = (0, *(int(phase) for phase in np.linspace(1, case.phases - 1, count - 1).round()))
    weights = np.eye(count) / deviation
    return Inputs(
        seen,
        chosen,
        tuple(tuple(map(float, row)) for row in weights),
        (-mean / deviation,) * count,
        (float((low - mean) / deviation), float((high - mean) / deviation)),
        tuple(max(0.0, timing.seconds[phase] / 60) for phase in chosen),
    )


def six_phases(seen: Overview) -> Inputs:
    """At most six phases, as the published TSESNet has weights for; see :func:`all_phases`."""
    return all_phases(seen, most=6)


def grey_image(seen: Overview) -> Inputs:
    """Return the one phase of an image, standardised within the image.

    Raises
    ------
    InputError
        If the image is constant.
    """
    mean, deviation = _statistics(seen.case.phase(0))
    if deviation <= SMALLEST:
        raise InputError(CONSTANT)
    return Inputs(seen, (0,), ((1 / deviation,),), (-mean / deviation,))


def grey_levels(seen: Overview) -> Inputs:
    """Return the one phase of an image from 0 to 1, its darkest and brightest thousandth cut off.

    Raises
    ------
    InputError
        If the image is constant.
    """
    low, high = (float(value) for value in np.quantile(seen.case.phase(0), [0.001, 0.999]))
    if high - low <= SMALLEST:
        raise InputError(CONSTANT)
    return Inputs(seen, (0,), ((1 / (high - low),),), (-low / (high - low),), (0.0, 1.0))


def _statistics(values: Volume) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), SMALLEST)
