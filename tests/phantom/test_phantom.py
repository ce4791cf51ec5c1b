"""The phantom: the same seed, exact truth, and physics that holds against the closed form."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.phantom import CURVES, TISSUES, make_phantom
from napari_breastseg.phantom.contrast import NO_UPTAKE, PERSISTENT, PLATEAU, WASHOUT, Kinetics

SMALL = (40, 64, 64)


def test_a_seed_gives_the_same_voxels_and_another_seed_others() -> None:
    one, same, other = (make_phantom(seed, SMALL, phases=3, lesions=1) for seed in (3, 3, 4))
    assert np.array_equal(one.case.images, same.case.images)
    assert np.array_equal(one.tumour, same.tumour)
    assert not np.array_equal(one.case.images, other.case.images)


def test_truth_agrees_with_itself() -> None:
    phantom = make_phantom(5, SMALL, lesions=2, diameter=20.0)
    assert phantom.case.phases == 5 == len(phantom.case.times)
    assert phantom.case.times[0] < 0 < phantom.case.times[1]
    assert np.array_equal(phantom.tumour == 1, phantom.tissue == TISSUES.index("lesion"))
    assert {"air", "fat", "gland", "skin", "muscle", "vessel"} <= {TISSUES[i] for i in np.unique(phantom.tissue)}
    assert not phantom.curve[phantom.tissue == TISSUES.index("air")].any()
    assert phantom.curve.max() < len(CURVES)
    assert np.isfinite(phantom.case.images).all()
    assert phantom.case.images.min() >= 0


@pytest.mark.parametrize("diameter", [8.0, 20.0, 40.0])
def test_a_tumour_has_the_volume_of_its_diameter(diameter: float) -> None:
    volumes = []
    for seed in range(6):
        phantom = make_phantom(seed, (64, 96, 96), phases=2, lesions=1, diameter=diameter)
        volumes.append(phantom.tumour.sum() * phantom.case.geometry.voxel_ml)
    sphere = np.pi / 6 * diameter**3 / 1000
    assert 0.4 * sphere < np.median(volumes) < 1.8 * sphere


def test_tumours_enhance_more_than_the_tissue_around_them() -> None:
    for seed in range(4):
        phantom = make_phantom(seed, (64, 96, 96), phases=2, lesions=1, diameter=15.0)
        rise = phantom.case.phase(1) - phantom.case.phase(0)
        assert rise[phantom.tumour == 1].mean() > 2 * rise[phantom.tissue == TISSUES.index("fat")].mean() + 10


def test_kinetics_follow_the_published_model() -> None:
    """Closed form of Fan et al. 2007, and its initial slope A * alpha."""
    maps = Kinetics(*(np.full((1, 1, 1), v, np.float32) for v in (100.0, 2.0, 3.0, 0.1)))
    assert maps.signal(-30).item() == 100
    assert maps.signal(90).item() == pytest.approx(100 * (1 + 2 * (1 - np.exp(-4.5)) * np.exp(-0.15)), rel=1e-5)
    assert maps.enhancement(0.06).item() / 0.001 == pytest.approx(2.0 * 3.0, rel=0.01)


@pytest.mark.parametrize(
    ("beta", "amplitude", "expected"), [(-0.1, 1, PERSISTENT), (0.0, 1, PLATEAU), (0.1, 2, WASHOUT), (0.1, 0.05, NO_UPTAKE)]
)
def test_curve_types(beta: float, amplitude: float, expected: int) -> None:
    maps = Kinetics(*(np.full((1, 1, 1), v, np.float32) for v in (100.0, amplitude, 4.0, beta)))
    assert maps.curve_types((-30.0, 90.0, 180.0, 360.0)).item() == expected


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 phases"):
        make_phantom(0, SMALL, phases=1)


@pytest.mark.slow
def test_the_full_size_takes_seconds() -> None:
    started = time.process_time()
    make_phantom(1)
    assert time.process_time() - started < 60
