"""Background parenchymal enhancement of tissue whose enhancement is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import background_enhancement, timing_of


def gland_case(noise: float = 0.0) -> Case:
    """Gland that enhances by 20 % at 140 s, around a tumour of 4 x 4 x 4 voxels of 2 x 1 x 1 mm whose surroundings enhance with it."""
    images = np.empty((4, 20, 40, 40), np.float32)
    images[:] = np.array([100.0, 110, 120, 140])[:, None, None, None]
    images[1:, 8:12, 18:22, 18:22] = 300
    around = images[1:, 7:13, 16:24, 16:24]
    around[around < 300] += 100
    images += np.float32(noise) * np.random.default_rng(0).standard_normal(images.shape, np.float32)
    return Case("gland", images, Geometry((2.0, 1.0, 1.0), np.eye(4), (40, 40, 20)), (-60.0, 70.0, 140.0, 400.0))


def tumour() -> np.ndarray:
    mask = np.zeros((20, 40, 40), np.uint8)
    mask[8:12, 18:22, 18:22] = 1
    return mask


def test_bpe_is_pe_near_150_seconds_of_the_tissue_without_the_tumour_and_its_surroundings() -> None:
    """The surroundings reach 2 mm along each axis, 3.5 mm in the corners: within the 5 mm that are left out."""
    case = gland_case()
    gland = np.ones(case.shape, bool)
    assert background_enhancement(case, timing_of(case), gland, tumour()) == pytest.approx(20)
    assert background_enhancement(case, timing_of(case), gland) > 21


def test_an_empty_tumour_mask_leaves_nothing_out() -> None:
    case = gland_case()
    gland = np.zeros(case.shape, bool)
    gland[:4] = True
    assert background_enhancement(case, timing_of(case), gland, np.zeros(case.shape, np.uint8)) == pytest.approx(20)


def test_noise_does_not_raise_it() -> None:
    """With a noise of a quarter of the baseline the mean PE of single voxels is 30 % instead of 20."""
    case = gland_case(noise=25.0)
    gland = np.zeros(case.shape, bool)
    gland[:4] = True
    single = (case.images[2][gland] / case.images[0][gland] - 1) * 100
    assert single.mean() > 25
    assert background_enhancement(case, timing_of(case), gland) == pytest.approx(20, abs=1.5)


def test_gland_that_is_nowhere_or_all_at_the_tumour_is_refused() -> None:
    case = gland_case()
    with pytest.raises(InputError, match="fibroglandular tissue is empty"):
        background_enhancement(case, timing_of(case), np.zeros(case.shape, bool))
    near = np.zeros(case.shape, bool)
    near[10, 15:25, 15:25] = True
    with pytest.raises(InputError, match="farther than 5 mm"):
        background_enhancement(case, timing_of(case), near, tumour())
    with pytest.raises(InputError, match="tumour's mask has the shape"):
        background_enhancement(case, timing_of(case), near, np.ones((2, 2, 2)))
