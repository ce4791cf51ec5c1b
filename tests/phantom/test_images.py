"""Ultrasound and mammogram phantoms: repeatable, with speckle as physics has it, and truths that the pixels show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_breastseg.errors import InputError
from napari_breastseg.phantom.mammogram import make_mammogram
from napari_breastseg.phantom.ultrasound import _speckle, make_ultrasound

MAKERS: list[Callable[..., Any]] = [make_ultrasound, make_mammogram]


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_gives_the_same_image(make: Callable[..., Any]) -> None:
    one, same, other = (make(seed, (96, 80)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.case.images, same.case.images)
    np.testing.assert_array_equal(one.mask, same.mask)
    assert not np.array_equal(one.case.images, other.case.images)
    assert one.case.images.shape == (1, 1, 96, 80) and one.mask.shape == (1, 96, 80)
    assert set(np.unique(one.mask)) <= {0, 1}


@pytest.mark.parametrize("make", MAKERS)
def test_how_many_masses_is_as_asked(make: Callable[..., Any]) -> None:
    assert not make(1, (128, 128), masses=0).mask.any()
    assert make(1, (128, 128), masses=1).mask.any()
    with pytest.raises(InputError, match="at least 64 pixels"):
        make(1, (63, 128))


def test_speckle_of_even_tissue_follows_rayleigh() -> None:
    amplitude = _speckle(np.random.default_rng(0), np.full((384, 384), 2.0, np.float32), (384, 384))
    assert (amplitude**2).mean() == pytest.approx(2.0, rel=0.05)
    assert amplitude.mean() / amplitude.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)  # 1.91
    apart = amplitude[::12, ::16].ravel()  # further than the point spread reaches
    assert stats.kstest(apart, "rayleigh", args=(0, 1.0)).pvalue > 0.01  # scale: the root of half the mean power


def test_masses_are_darker_and_cast_shadows_or_enhance() -> None:
    behind: dict[str, list[float]] = {"cyst": [], "malignant": []}
    darker = []
    for seed in range(60):
        phantom = make_ultrasound(seed, (192, 256), masses=1)
        image, mass = phantom.case.phase(0)[0], phantom.mask[0] > 0
        ring = ndimage.binary_dilation(mass, iterations=10) & ~ndimage.binary_dilation(mass, iterations=4)
        darker.append(image[ring].mean() - image[mass].mean())
        rows, columns = np.flatnonzero(mass.any(1)), np.flatnonzero(mass.any(0))
        below = slice(rows[-1] + 4, rows[-1] + 24)
        beside = np.delete(image[below], np.arange(max(0, columns[0] - 6), min(256, columns[-1] + 7)), 1)
        middle = image[below, columns[len(columns) // 4] : columns[3 * len(columns) // 4] + 1]
        if phantom.kinds[0] in behind and middle.size and beside.size:
            behind[phantom.kinds[0]].append(float(middle.mean() - beside.mean()))
    assert np.mean(np.array(darker) > 0) > 0.9
    assert np.mean(behind["malignant"]) < -5 < 5 < np.mean(behind["cyst"])


def test_masses_of_mammograms_are_brighter_than_what_is_around_them() -> None:
    brighter = []
    for seed in range(12):
        phantom = make_mammogram(seed, (160, 120), masses=1)
        image, mass = phantom.case.phase(0)[0], phantom.mask[0] > 0
        near = ndimage.binary_dilation(mass, iterations=6) & ~mass & phantom.breast[0] & ~phantom.muscle[0]
        own = mass & ~phantom.muscle[0]
        if own.sum() > 10 and near.any():
            brighter.append(float(image[own].mean() - image[near].mean()))
    assert len(brighter) >= 6
    assert np.mean(brighter) > 0 and np.mean(np.array(brighter) > 0) > 0.7


def test_only_the_oblique_view_has_a_muscle() -> None:
    cranial, oblique = (make_mammogram(5, (96, 80), view) for view in ("CC", "MLO"))
    assert not cranial.muscle.any()
    assert oblique.muscle[0, 0, 0] and not oblique.muscle[0, -1].any()
    image = oblique.case.phase(0)
    assert image[oblique.muscle].mean() > image[oblique.breast & ~oblique.muscle].mean() > 2 * image[~oblique.breast].mean()
