"""Breast and pectoral muscle of mammograms: on drawings with exact truth, and on digitised films with tissue labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from napari_breastseg.case import Case, Geometry, whole
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.phantom.mammogram import make_mammogram
from napari_breastseg.preprocess.mammogram import breast_outline, equalised, mammogram_region, pectoral_muscle
from napari_breastseg.preprocess.overview import Overview

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def drawing(muscle: bool = True, right: bool = False, seed: int = 0) -> tuple[Plane, Mask, Mask]:
    """A breast at the edge of a noisy film, with a bright muscle in the upper corner if asked for, and a bright label: image and truths."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:480, :240]
    breast = ((y - 250) / 220) ** 2 + (x / 170) ** 2 < 1
    corner = (y / 260 + x / 90 < 1) & (y < 480)
    breast |= corner & muscle
    image = 20 + 60.0 * breast + 25 * ndimage.gaussian_filter(rng.normal(size=breast.shape), 12) / 0.024 * breast
    image += 120 * (corner & breast & muscle)
    image[10:30, 200:235] = 250
    image = ndimage.gaussian_filter(image, 1.5) + rng.normal(0, 3, image.shape)
    found = image.astype(np.float32), breast, corner & breast & muscle
    return tuple(a[:, ::-1].copy() for a in found) if right else found  # type: ignore[return-value]


def case_of(image: Plane, pixel: float = 1.0) -> Case:
    z, y, x = 1, *image.shape
    geometry = Geometry((1.0, pixel, pixel), np.diag([-pixel, -pixel, 1.0, 1.0]), (x, y, z))
    return Case("film", image[None, None], geometry, modality="mammography")


@pytest.mark.parametrize("right", [False, True])
def test_breast_and_muscle_of_a_drawing(right: bool) -> None:
    image, breast, muscle = drawing(right=right)
    outline = breast_outline(image)
    assert dice(outline, breast) > 0.95
    assert dice(pectoral_muscle(image, outline), muscle) > 0.85


def test_without_a_muscle_none_is_found() -> None:
    image, breast, _ = drawing(muscle=False)
    outline = breast_outline(image)
    assert dice(outline, breast) > 0.95
    assert not pectoral_muscle(image, outline).any()


def test_brightness_and_contrast_do_not_matter() -> None:
    image, _, _ = drawing()
    outline = breast_outline(image)
    brighter = 300 + 40 * image
    np.testing.assert_array_equal(breast_outline(brighter), outline)
    np.testing.assert_array_equal(pectoral_muscle(brighter, outline), pectoral_muscle(image, outline))


@pytest.mark.parametrize("pixel", [1.0, 0.1])
def test_the_region_is_a_box_without_the_muscle(pixel: float) -> None:
    image, breast, muscle = drawing()
    region = mammogram_region(Overview.of(case_of(image, pixel)))
    ((_, (top, bottom), (left, right)),) = region.boxes
    rows, columns = np.flatnonzero(breast.any(1)), np.flatnonzero(breast.any(0))
    assert top <= rows[0] and bottom > rows[-1] and left <= columns[0] and right > columns[-1]
    assert right < 220  # the label is left out
    assert dice(~region.inside, muscle) > 0.8


def test_within_the_breast_every_value_is_as_common_as_any_other() -> None:
    image, breast, muscle = drawing()
    channels = equalised(Overview.of(case_of(image))).read(whole((1, *image.shape)), (1, *image.shape))
    seen = np.sort(channels[0, 0][breast & ~muscle])
    assert 0 <= seen[0] and seen[-1] <= 1
    assert np.abs(seen - np.linspace(0, 1, seen.size)).max() < 0.08  # what was found is not quite what was drawn
    assert channels[0, 0][~breast].mean() < 0.1


def test_a_constant_image_is_refused() -> None:
    with pytest.raises(InputError, match="constant"):
        equalised(Overview.of(case_of(np.full((64, 48), 7, np.float32))))


@pytest.mark.parametrize("seed", [9000, 9003, 9005, 9007, 9110])
def test_the_muscle_of_phantoms_is_found_as_they_are_predicted(seed: int) -> None:
    phantom = make_mammogram(seed, view="MLO")
    region = mammogram_region(Overview.of(phantom.case))
    assert dice(~region.inside, phantom.muscle[0]) > 0.85


@pytest.mark.realdata
def test_tissue_of_digitised_films(data: Path) -> None:
    """66 oblique films of DDSM with labels 64 background, 128 fat, 192 gland and 255 muscle."""
    films = sorted((data / "ddsm_tissue").rglob("fgt_seg/*.png"))
    assert len(films) == 66
    breasts, muscles = [], []
    for path in films:
        image = np.asarray(Image.open(path)).astype(np.float32)
        labels = np.asarray(Image.open(path.parent.with_name("fgt_seg_labels") / f"{path.stem}_LI.png"))
        breasts.append(dice(breast_outline(image), labels != 64))
        muscles.append(dice(~mammogram_region(Overview.of(case_of(image))).inside, labels == 255))
    assert np.mean(breasts) > 0.97 and min(breasts) > 0.9
    assert np.mean(muscles) > 0.88 and np.quantile(muscles, 0.1) > 0.8
