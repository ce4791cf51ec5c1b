"""Normalisation and the channels of the presets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.phantom import TISSUES, make_phantom
from napari_breastseg.preprocess.intensity import body_mask, post_and_subtraction, post_contrast
from napari_breastseg.preprocess.resample import resample, working_shape


def test_body_is_separated_from_air() -> None:
    phantom = make_phantom(2, (40, 64, 64), phases=2)
    body = body_mask(phantom.case.phase(1))
    # The mask is made from an average of three voxels, so it may reach one voxel, not two, into the air.
    air = ~ndimage.binary_dilation(phantom.tissue != TISSUES.index("air"), iterations=2)
    fat = phantom.tissue == TISSUES.index("fat")
    assert body[fat].mean() > 0.95
    assert body[air].mean() < 0.05


def test_channels_do_not_change_with_the_scanners_gain() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    louder = Case(case.name, case.images * 3, case.geometry)
    np.testing.assert_allclose(post_and_subtraction(case), post_and_subtraction(louder), atol=0.05)
    np.testing.assert_allclose(post_contrast(case)[0], post_and_subtraction(case)[0])


def test_subtraction_is_in_units_of_the_post_contrast_deviation() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    post, difference = post_and_subtraction(case)
    slope = np.polyfit(case.phase(1).ravel(), post.ravel(), 1)[0]
    np.testing.assert_allclose(difference, slope * (case.phase(1) - case.phase(0)), rtol=1e-3, atol=1e-3)


def test_one_phase_and_a_constant_image_are_refused_in_words() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    with pytest.raises(InputError, match="hcma-unet/paper"):
        post_and_subtraction(Case("one", case.images[1:], case.geometry))
    with pytest.raises(InputError, match="constant"):
        post_contrast(Case("flat", np.ones_like(case.images), case.geometry))


def test_resampling_keeps_a_ramp_and_the_mean() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32), (1, 20, 30, 40)).copy()
    half = resample(ramp, (10, 15, 20))
    assert half.mean() == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(half[0, 5, 5, 3:-3], ramp[0, 0, 0].reshape(20, 2).mean(1)[3:-3], atol=1e-3)
    assert working_shape((88, 240, 224), (1.1, 0.759, 0.759), (1.5, 1.5, 1.5)) == (65, 121, 113)
