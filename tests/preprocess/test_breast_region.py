"""Boxes never cut off breast tissue and leave out what they can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import slices
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.phantom import TISSUES, make_phantom
from napari_breastseg.preprocess.breast_region import breast_mask, breast_region
from napari_breastseg.preprocess.overview import Overview


@pytest.mark.parametrize("seed", range(6))
def test_all_tumour_and_gland_lie_in_a_box(seed: int) -> None:
    phantom = make_phantom(seed, (48, 80, 80), phases=2)
    inside = np.zeros(phantom.tumour.shape, bool)
    region = breast_region(Overview.of(phantom.case))
    for box in region.boxes:
        inside[slices(box)] = True
    inside &= region.inside
    assert inside[phantom.tumour == 1].all()
    gland = phantom.tissue == TISSUES.index("gland")
    assert inside[gland].mean() > 0.995


@pytest.mark.realdata
def test_real_case_at_both_resolutions(data: Path) -> None:
    for folder, expected in (("fullfov_half", 2), ("native_crop", 1)):
        case = read_case(data / "duke_153" / folder)
        mask = read_mask(data / "duke_153" / folder / "duke_153_tumour_semiauto.nii.gz", case)
        region = breast_region(Overview.of(case))
        boxes = region.boxes
        assert region.inside[mask.any(axis=0)].all()
        assert len(boxes) == expected
        assert any(mask[slices(box)].sum() == mask.sum() for box in boxes)
        if expected == 2:
            assert sum(np.prod([b - a for a, b in box]) for box in boxes) < 0.85 * np.prod(case.shape)


@pytest.mark.parametrize("seed", range(4))
def test_the_breast_mask_holds_the_breasts_and_little_else(seed: int) -> None:
    phantom = make_phantom(seed, (64, 96, 96), phases=2)
    mask = breast_mask(Overview.of(phantom.case))
    tissue = {name: phantom.tissue == TISSUES.index(name) for name in ("gland", "air", "heart", "lung")}
    assert mask.shape == phantom.case.shape
    assert mask[phantom.tumour == 1].mean() > 0.995
    assert mask[tissue["gland"]].mean() > 0.98
    assert mask[tissue["air"]].mean() < 0.1
    bilateral = len(breast_region(Overview.of(phantom.case)).boxes) == 2
    if bilateral:  # of one breast alone nothing behind it is cut, in doubt
        assert mask[tissue["heart"] | tissue["lung"]].mean() < 0.35


def test_the_breast_mask_on_another_grid_is_the_nearest_voxel_of_it() -> None:
    seen = Overview.of(make_phantom(1, (40, 64, 64), phases=2).case)
    mask, half = breast_mask(seen), breast_mask(seen, (20, 32, 32))
    assert half.shape == (20, 32, 32)
    assert (half == mask[1::2, 1::2, 1::2]).mean() > 0.97
