"""The functional tumour volume against its definition in plain loops, and against a ball of known volume."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg import phantom
from napari_breastseg.case import Box, Case, Geometry, box_around
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import SER_BINS, FtvSettings, Timing, functional_tumour_volume, timing_of
from napari_breastseg.phantom import make_phantom
from napari_breastseg.phantom.contrast import Kinetics

TIMES = (-60.0, 60.0, 150.0, 300.0, 450.0)
TIMING = Timing(TIMES)


def case_of(images: npt.NDArray[Any], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), times: tuple[float, ...] = TIMES) -> Case:
    z, y, x = images.shape[1:]
    return Case("test", images.astype(np.float32), Geometry(spacing, np.diag([*spacing[::-1], 1.0]), (x, y, z)), times)


def ball(radius_mm: float, spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Voxels whose centre lies in a ball about the middle of the image."""
    z, y, x = ((np.arange(n) - n / 2 + 0.5) * s for n, s in zip(shape, spacing, strict=True))
    inside: npt.NDArray[np.bool_] = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius_mm**2
    return inside


def enhancing(mask: npt.NDArray[np.bool_], beta: float = 0.05) -> npt.NDArray[np.float32]:
    """Noise-free phases: `mask` enhances by the model of Fan et al., the rest by a tenth of that."""
    full = np.full(mask.shape, 1.0, np.float32)
    maps = Kinetics(100 * full, np.where(mask, 2.0, 0.2).astype(np.float32), 3 * full, np.float32(beta) * full)
    return np.stack([maps.signal(seconds) for seconds in TIMES])


def slow_ftv(case: Case, phases: tuple[int, int], box: Box) -> npt.NDArray[np.bool_]:
    """The definition with loops in float64."""
    s0, early, late = (case.images[i].astype(np.float64) for i in (0, *phases))
    region = tuple(slice(*limits) for limits in box)
    threshold = 0.6 * np.percentile(s0[region], 95)

    def passes(*voxel: int) -> bool:
        within = all(0 <= i < n for i, n in zip(voxel, s0.shape, strict=True))
        return within and bool(s0[voxel] >= threshold) and bool(early[voxel] - s0[voxel] >= 0.7 * s0[voxel])

    tumour = np.zeros(s0.shape, bool)
    for z, y, x in itertools.product(*(range(*limits) for limits in box)):
        if not passes(z, y, x):
            continue
        around = itertools.product(*(range(i - 1, i + 2) for i in (z, y, x)))
        neighbours = sum(passes(*voxel) for voxel in around) - 1
        ratio = (early[z, y, x] - s0[z, y, x]) / (late[z, y, x] - s0[z, y, x])
        tumour[z, y, x] = neighbours >= 4 and ratio >= 0
    return tumour


@pytest.mark.parametrize(("radius", "spacing"), [(10.0, (1.0, 0.8, 0.8)), (6.0, (0.6, 0.5, 0.5)), (15.0, (2.0, 1.0, 1.0))])
def test_a_ball_has_its_volume(radius: float, spacing: tuple[float, float, float]) -> None:
    shape = (44, 52, 52)
    case = case_of(enhancing(ball(radius, spacing, shape)), spacing)
    found = functional_tumour_volume(case, TIMING, ((1, 43), (1, 51), (1, 51)))
    assert found.ml == pytest.approx(4 / 3 * math.pi * radius**3 / 1000, rel=0.03)
    assert found.name == "FTV"


@pytest.mark.parametrize(("noisy", "seed"), [(False, 0), (False, 7), (True, 0), (True, 9)])
def test_phantoms_have_the_volume_of_the_definition(noisy: bool, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not noisy:
        clean = lambda rng, kinetics, anatomy, protocol: np.stack([kinetics.signal(s) for s in protocol.times])  # noqa: E731
        monkeypatch.setattr(phantom, "acquire", clean)
    made = make_phantom(seed, (32, 64, 64), lesions=1, diameter=24)
    around = box_around(made.tumour == 1)
    assert around is not None
    z, y, x = ((max(low - 2, 0), min(high + 2, n)) for (low, high), n in zip(around, made.case.shape, strict=True))
    timing = timing_of(made.case)
    found = functional_tumour_volume(made.case, timing, (z, y, x))
    expected = slow_ftv(made.case, (timing.pe, timing.ser_late), (z, y, x))
    assert expected.sum() > 50
    assert (found.mask != expected).mean() < 1e-6  # a voxel at most, at a threshold
    assert found.ml == pytest.approx(expected.sum() * made.case.geometry.voxel_ml, rel=0.001)


def test_ser_splits_the_volume_into_the_published_bins() -> None:
    """Blocks of 3 x 3 x 3 voxels that enhance by 100 % of S0 at 150 s and by 100 / SER % at 450 s; 1 belongs to the bin that ends there."""
    values = (0.5, 0.89, 0.95, 1.0, 1.2, 1.5, 2.0, 3.5)
    images = np.full((5, 3, 3, 3 * len(values)), 100.0)
    for i, ser in enumerate(values):
        images[1:4, :, :, 3 * i : 3 * i + 3] = 200
        images[4, :, :, 3 * i : 3 * i + 3] = 100 + 100 / ser
    found = functional_tumour_volume(case_of(images), TIMING, ((0, 3), (0, 3), (0, 24)))
    assert [(b.low, b.high) for b in SER_BINS] == [(0, 0.9), (0.9, 1), (1, 1.3), (1.3, 1.75), (1.75, 3)]
    assert found.ser_ml == pytest.approx((0.054, 0.054, 0.027, 0.027, 0.027))
    assert found.beyond_ml == pytest.approx(0.027)
    assert found.ml == pytest.approx(sum(found.ser_ml) + found.beyond_ml) == pytest.approx(0.216)


def test_a_voxel_alone_and_a_thin_vessel_do_not_count() -> None:
    """A straight line of voxels has two neighbours each; a plate of three by three has eight in the middle."""
    mask = np.zeros((9, 24, 24), bool)
    mask[4, 2, 2] = mask[4, 6, :] = True
    assert functional_tumour_volume(case_of(enhancing(mask)), TIMING, ((0, 9), (0, 24), (0, 24))).ml == 0
    mask[4, 12:15, 12:15] = True
    found = functional_tumour_volume(case_of(enhancing(mask)), TIMING, ((0, 9), (0, 24), (0, 24)))
    assert found.mask[4, 12:15, 12:15].sum() == 5  # the corners have but three neighbours
    loose = functional_tumour_volume(case_of(enhancing(mask)), TIMING, ((0, 9), (0, 24), (0, 24)), settings=FtvSettings(neighbours=0))
    assert (loose.mask == mask).all()


def test_neighbours_count_outside_the_region_too() -> None:
    mask = ball(6, (1, 1, 1), (20, 20, 20))
    whole = functional_tumour_volume(case_of(enhancing(mask)), TIMING, ((0, 20), (0, 20), (0, 20)))
    slice_only = functional_tumour_volume(case_of(enhancing(mask)), TIMING, ((4, 5), (0, 20), (0, 20)))
    assert whole.mask[4].any() and (slice_only.mask[4] == whole.mask[4]).all()
    assert slice_only.mask.sum() == whole.mask[4].sum()


def test_what_is_omitted_neither_counts_nor_sets_the_threshold() -> None:
    """A bright marker of half of the region would raise the threshold above the tumour's baseline."""
    images = enhancing(ball(6, (1, 1, 1), (20, 20, 40)))
    images[:, :, :, :12] = 1000
    case, region = case_of(images), ((0, 20), (0, 20), (0, 40))
    assert functional_tumour_volume(case, TIMING, region).ml == 0
    found = functional_tumour_volume(case, TIMING, region, omit=[((0, 20), (0, 20), (0, 12))])
    assert found.ml == pytest.approx(ball(6, (1, 1, 1), (20, 20, 40)).sum() / 1000)
    drawn = np.ones((20, 20, 40), np.uint8)
    drawn[..., :12] = 0
    assert (functional_tumour_volume(case, TIMING, drawn).mask == found.mask).all()


def test_tissue_that_falls_below_its_baseline_is_left_out() -> None:
    images = enhancing(ball(6, (1, 1, 1), (20, 20, 20)))
    images[4, :, :, :10] = 50  # SER is negative there
    found = functional_tumour_volume(case_of(images), TIMING, ((0, 20), (0, 20), (0, 20)))
    assert not found.mask[..., :10].any() and found.mask[..., 10:].any()


def test_several_baseline_phases_are_averaged() -> None:
    """Two phases of 100 and 140: PE of 200 is 67 % of their mean, and 100 % of the first alone."""
    images = np.full((4, 5, 5, 5), 200.0)
    images[0], images[1] = 100, 140
    case = case_of(images, times=(-90.0, -30.0, 150.0, 450.0))
    region = ((0, 5), (0, 5), (0, 5))
    assert functional_tumour_volume(case, timing_of(case), region).ml == 0
    assert functional_tumour_volume(case, timing_of(case), region, settings=FtvSettings(pe=66)).ml > 0


def test_phases_far_from_the_definition_make_it_ftv_like() -> None:
    case = replace(case_of(enhancing(ball(6, (1, 1, 1), (20, 20, 20)))), times=(-1371.1, 0.0, 121.4, 244.1, 365.6))
    found = functional_tumour_volume(case, timing_of(case), ((0, 20), (0, 20), (0, 20)))
    assert (found.name, found.reason) == ("FTV-like", "the phases lie 182 s and 426 s after the injection, not 150 s and 450 s")


def test_regions_and_series_that_cannot_be_used_are_refused() -> None:
    case = case_of(enhancing(ball(3, (1, 1, 1), (8, 8, 8))))
    box: Box = ((0, 8), (0, 8), (0, 8))
    for region in (((0, 9), (0, 8), (0, 8)), ((3, 3), (0, 8), (0, 8)), ((-2, 8), (0, 8), (0, 8))):
        with pytest.raises(InputError, match="does not lie in test"):
            functional_tumour_volume(case, TIMING, region)
    with pytest.raises(InputError, match="Nothing of the region is left"):
        functional_tumour_volume(case, TIMING, box, omit=[box])
    with pytest.raises(InputError, match="The region is empty"):
        functional_tumour_volume(case, TIMING, np.zeros((8, 8, 8), np.uint8))
    with pytest.raises(InputError, match="has the shape"):
        functional_tumour_volume(case, TIMING, np.ones((8, 8, 7), np.uint8))
    with pytest.raises(InputError, match="two phases after the injection"):
        two = replace(case, images=case.images[:2], times=TIMES[:2])
        functional_tumour_volume(two, timing_of(two), box)
    with pytest.raises(InputError, match="5 phases, the times 3"):
        functional_tumour_volume(case, Timing((-60.0, 150.0, 450.0)), box)
    for wrong in ({"neighbours": 27}, {"baseline_share": 1.2}, {"baseline_percentile": 101.0}):
        with pytest.raises(InputError, match="Correct its settings"):
            FtvSettings(**wrong)  # type: ignore[arg-type]
