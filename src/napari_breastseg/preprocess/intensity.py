"""Intensity normalisation by the statistics of the body or of the image, and the input channels of the methods."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError

Volume = npt.NDArray[np.float32]
CONSTANT = "The image is constant: there is nothing to segment. Check that the right file was opened."


def body_mask(volume: Volume) -> npt.NDArray[np.bool_]:
    """Separate body from air in one phase, shape (z, y, x).

    Otsu's threshold of the logarithm, because a few very bright voxels (vessels, a tumour) would draw a linear one far too high.

    Raises
    ------
    InputError
        If the volume is constant.
    """
    smooth = np.log1p(np.clip(ndimage.uniform_filter(volume, 3), 0, None))
    if float(np.ptp(smooth)) < 1e-6:
        raise InputError(CONSTANT)
    body: npt.NDArray[np.bool_] = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    return body


def first_post_contrast(case: Case) -> int:
    """Index of the first phase after the contrast injection.

    The second phase, unless the case has but one, which is then taken as post-contrast (MAMA-MIA and nnU-Net numbering).
    """
    return min(1, case.phases - 1)


def post_contrast(case: Case) -> Volume:
    """First post-contrast phase, standardised within the body, shape (1, z, y, x): the paper's one channel."""
    post = case.phase(first_post_contrast(case))
    mean, deviation = _statistics(post)
    return ((post - mean) / deviation)[None]


def post_and_subtraction(case: Case) -> Volume:
    """First post-contrast phase, and its difference to the phase before contrast, both in units of the body's deviation.

    Returns
    -------
    ndarray, shape (2, z, y, x), float32

    Raises
    ------
    InputError
        If the case has no phase before contrast.
    """
    if case.phases < 2:
        raise InputError(f"{case.name} has one phase, but this model needs one before and one after contrast. Use hcma-unet/paper instead.")
    post, pre = case.phase(1), case.phase(0)
    mean, deviation = _statistics(post)
    return np.stack([(post - mean) / deviation, (post - pre) / deviation])


def grey_image(case: Case) -> Volume:
    """Return the one phase of an image, standardised within the image, shape (1, z, y, x).

    Raises
    ------
    InputError
        If the image is constant.
    """
    image = case.phase(0)
    deviation = float(image.std())
    if deviation < 1e-6:
        raise InputError(CONSTANT)
    return ((image - float(image.mean())) / deviation)[None]


def _statistics(post: Volume) -> tuple[float, float]:
    body = post[body_mask(post)]
    return float(body.mean()), max(float(body.std()), 1e-6)
