"""Normalisation and the channels of the presets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from napari_breastseg.case import Case, slices, whole
from napari_breastseg.errors import InputError
from napari_breastseg.phantom import TISSUES, make_phantom
from napari_breastseg.preprocess.intensity import (
    Inputs,
    all_phases,
    before_and_after,
    before_contrast,
    post_and_subtraction,
    post_contrast,
    six_phases,
    with_clock,
)
from napari_breastseg.preprocess.overview import Overview, body_mask
from napari_breastseg.preprocess.resample import working_shape


def channels(make: Callable[[Overview], Inputs], case: Case) -> np.ndarray:
    return make(Overview.of(case)).read(whole(case.shape), case.shape)


def test_body_is_separated_from_air() -> None:
    phantom = make_phantom(2, (40, 64, 64), phases=2)
    body = body_mask(ndimage.uniform_filter(phantom.case.phase(1), 3))
    # The mask is made from an average of three voxels, so it may reach one voxel, not two, into the air.
    air = ~ndimage.binary_dilation(phantom.tissue != TISSUES.index("air"), iterations=2)
    fat = phantom.tissue == TISSUES.index("fat")
    assert body[fat].mean() > 0.95
    assert body[air].mean() < 0.05


def test_channels_do_not_change_with_the_scanners_gain() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    louder = Case(case.name, case.images * 3, case.geometry)
    np.testing.assert_allclose(channels(post_and_subtraction, case), channels(post_and_subtraction, louder), atol=0.05)
    np.testing.assert_allclose(channels(post_contrast, case)[0], channels(post_and_subtraction, case)[0])


def test_subtraction_is_in_units_of_the_post_contrast_deviation() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    post, difference = channels(post_and_subtraction, case)
    slope = np.polyfit(case.phase(1).ravel(), post.ravel(), 1)[0]
    np.testing.assert_allclose(difference, slope * (case.phase(1) - case.phase(0)), rtol=1e-3, atol=1e-3)


def test_one_phase_and_a_constant_image_are_refused_in_words() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    with pytest.raises(InputError, match="hcma-unet/paper"):
        channels(post_and_subtraction, Case("one", case.images[1:], case.geometry))
    with pytest.raises(InputError, match="constant"):
        channels(post_contrast, Case("flat", np.ones_like(case.images), case.geometry))


def test_statistics_are_those_of_all_voxels_of_the_body() -> None:
    """An overview looks at a few voxels, each as noisy as all others: mean 0 and deviation 1 must hold for the whole."""
    phantom = make_phantom(5, (96, 160, 160), phases=2)
    body = phantom.tissue != TISSUES.index("air")
    post = channels(post_contrast, phantom.case)[0][body]
    assert abs(post.mean()) < 0.1
    assert post.std() == pytest.approx(1, abs=0.05)


def test_a_box_is_read_as_the_whole_is() -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    inputs = post_and_subtraction(Overview.of(case))
    box = ((3, 30), (10, 64), (0, 41))
    part = inputs.read(box, [high - low for low, high in box])
    np.testing.assert_array_equal(part, inputs.read(whole(case.shape), case.shape)[(slice(None), *slices(box))])


@pytest.mark.parametrize("phase", [0, 1])
def test_voxels_that_are_no_numbers_are_refused_in_words(phase: int) -> None:
    case = make_phantom(2, (40, 64, 64), phases=2).case
    images = case.images.copy()
    images[phase, 20, 30, 31] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        channels(post_and_subtraction, Case(case.name, images, case.geometry))


def test_working_grid() -> None:
    assert working_shape((88, 240, 224), (1.1, 0.759, 0.759), (1.5, 1.5, 1.5)) == (65, 121, 113)


def test_all_phases_share_one_scale_so_that_kinetics_survive() -> None:
    case = make_phantom(3, (40, 64, 64), phases=5).case
    inputs = all_phases(Overview.of(case))
    phases = inputs.read(whole(case.shape), case.shape)
    low, high = inputs.limits
    inner = (phases > low).all(0) & (phases < high).all(0)
    slope, shift = np.polyfit(case.phase(1)[inner], phases[1][inner], 1)
    for index in range(5):  # the same straight line takes every phase to its channel
        np.testing.assert_allclose(phases[index][inner], slope * case.phase(index)[inner] + shift, atol=1e-3)
    assert phases.min() == pytest.approx(low) and phases.max() == pytest.approx(high)
    assert inputs.clock == pytest.approx([0.0, *(t / 60 for t in case.times[1:])])


def test_of_many_phases_the_published_network_sees_six() -> None:
    case = make_phantom(3, (24, 32, 32), phases=9).case
    inputs = six_phases(Overview.of(case))
    assert inputs.phases == (0, 1, 3, 4, 6, 8)
    assert inputs.clock == pytest.approx([0.0, *(case.times[i] / 60 for i in inputs.phases[1:])])
    assert six_phases(Overview.of(make_phantom(3, (24, 32, 32), phases=4).case)).phases == (0, 1, 2, 3)


def test_a_clock_stands_behind_each_phase() -> None:
    images = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    told = with_clock(images, (0.0, 1.5, 3.0))
    np.testing.assert_array_equal(told[::2], images)
    assert [set(plane.ravel()) for plane in told[1::2]] == [{0.0}, {1.5}, {3.0}]
    assert with_clock(images, ()) is images


def test_what_is_seen_before_contrast_does_not_change_with_what_follows() -> None:
    case = make_phantom(4, (32, 48, 48), phases=3).case
    images = case.images.copy()
    images[1:] = np.random.default_rng(0).normal(size=images[1:].shape)
    other = Case(case.name, images, case.geometry, case.times)
    seen = [before_contrast(Overview.of(one, 0)).read(whole(case.shape), case.shape) for one in (case, other)]
    np.testing.assert_array_equal(*seen)


def test_before_and_after_contrast_have_one_scale() -> None:
    case = make_phantom(4, (32, 48, 48), phases=3).case
    before, after = channels(before_and_after, case)
    slope, shift = np.polyfit(case.phase(1).ravel(), after.ravel(), 1)
    np.testing.assert_allclose(before, slope * case.phase(0) + shift, atol=1e-3)
    for make in (before_and_after, all_phases):
        with pytest.raises(InputError, match="has one phase.*hcnet"):
            channels(make, Case("one", case.images[:1], case.geometry))
