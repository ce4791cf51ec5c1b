"""A case seen from afar: what is needed to find the breasts and to normalise the intensities, without holding the case in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.resample import Volume, resample_read, working_shape

STEP = 3.0
"""Largest voxel (mm) of an overview; voxels that are larger stay as they are."""
IMAGE_CELLS = 480
"""Most cells along an image of one slice, whose scale may be unknown; images that are smaller stay as they are."""
CONSTANT = "The image is constant: there is nothing to segment. Check that the right file was opened."
NOT_FINITE = "{} holds voxels that are no numbers (NaN or infinite). Export it again, or replace them."


def first_post_contrast(case: Case) -> int:
    """Index of the first phase after the contrast injection.

    The second phase, unless the case has but one, which is then taken as post-contrast (MAMA-MIA and nnU-Net numbering).
    """
    return min(1, case.phases - 1)


@dataclass(frozen=True)
class Overview:
    """One phase of a case, as a rule the first post-contrast one, on a coarse grid.

    Attributes
    ----------
    case : Case
    image : ndarray, shape (z, y, x), float32
        Means over the cells of the grid.
    sample : ndarray, shape (z, y, x), float32
        One voxel out of the middle of each cell: their statistics, unlike those of means, are those of the voxels.
    """

    case: Case
    image: Volume
    sample: Volume

    @classmethod
    def of(cls, case: Case, phase: int | None = None) -> Overview:
        """Read one phase of a case once, slab by slab; the first post-contrast one if no other is asked for.

        Raises
        ------
        InputError
            If the images cannot be read, or hold values that are not finite.
        """
        index = first_post_contrast(case) if phase is None else phase
        step = max(n * s for n, s in zip(case.shape, case.geometry.spacing, strict=True)) / IMAGE_CELLS if case.flat else STEP
        coarse = working_shape(case.shape, case.geometry.spacing, [max(step, s) for s in case.geometry.spacing])
        z, y, x = (_middles(n, m) for n, m in zip(case.shape, coarse, strict=True))
        sample = np.empty(coarse, np.float32)

        def read(slab: slice) -> Volume:
            volume = np.asarray(case.images[index, slab], np.float32)
            mine = (z >= slab.start) & (z < slab.stop)
            sample[mine] = volume[np.ix_(z[mine] - slab.start, y, x)]
            return volume

        image = resample_read(read, case.shape, coarse)
        if not np.isfinite(image).all():  # a mean is finite only if all of its voxels are
            raise InputError(NOT_FINITE.format(case.name))
        return cls(case, image, sample)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edges (z, y, x) of a cell, mm."""
        z, y, x = (s * n / m for s, n, m in zip(self.case.geometry.spacing, self.case.shape, self.image.shape, strict=True))
        return z, y, x

    @cached_property
    def body(self) -> npt.NDArray[np.bool_]:
        """Body as opposed to air, shape (z, y, x); see :func:`body_mask`."""
        return body_mask(self.image)


def body_mask(smooth: Volume) -> npt.NDArray[np.bool_]:
    """Separate body from air in one phase without much noise, shape (z, y, x).

    Otsu's threshold of the logarithm, because a few very bright voxels (vessels, a tumour) would draw a linear one far too high.

    Raises
    ------
    InputError
        If the volume is constant.
    """
    bright = np.log1p(np.clip(smooth, 0, None))
    if float(np.ptp(bright)) < 1e-6:
        raise InputError(CONSTANT)
    body: npt.NDArray[np.bool_] = bright > threshold_otsu(bright)
    return body


def _middles(length: int, cells: int) -> npt.NDArray[np.intp]:
    """Index of the voxel in the middle of each cell."""
    return ((np.arange(cells) + 0.5) * length / cells).astype(np.intp)
