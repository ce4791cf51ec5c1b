"""Intensity normalisation by the statistics of the body or of the image, and the input channels of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_breastseg.case import Box, slices
from napari_breastseg.errors import InputError
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
    """

    seen: Overview
    phases: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    offsets: tuple[float, ...]

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
        return mixed


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


def _statistics(values: Volume) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), SMALLEST)
