"""The phantom: the same seed, exact truth, and physics that holds against the closed form."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage import measure

from napari_breastseg.errors import InputError
from napari_breastseg.phantom import CURVES, OTHER_SCANNER, TISSUES, Phantom, make_phantom
from napari_breastseg.phantom.anatomy import make_anatomy
from napari_breastseg.phantom.benign import draw_benign_mass
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


def test_the_voxels_of_a_seed_stay_what_they_were() -> None:
    """The starter weights and the gate know the phantoms by their seeds; the figures are from before there were benign masses."""
    phantom = make_phantom(3, SMALL, phases=3)
    tissue = [71937, 19397, 1222, 1705, 15518, 36352, 7082, 10195, 0, 25, 0, 407]
    assert phantom.tumour.sum() == 407
    assert np.bincount(phantom.tissue.ravel()).tolist() == tissue
    np.testing.assert_allclose(phantom.case.images.mean((1, 2, 3)), [20.739, 28.065, 28.934], atol=0.002)


@pytest.mark.parametrize("seed", [0, 1])
def test_benign_masses_go_on_enhancing_and_are_no_tumour(seed: int) -> None:
    shape, kind = (48, 72, 72), TISSUES.index("benign mass")
    plain, phantom = (make_phantom(seed, shape, phases=4, lesions=1, diameter=15.0, benign=count) for count in (0, 3))
    mass = phantom.tissue == kind
    assert mass.sum() > 30 and not (plain.tissue == kind).any()
    assert not (mass & (phantom.tumour == 1)).any()
    # Nothing else changes: the tumour, and every voxel well away from the masses.
    np.testing.assert_array_equal(phantom.tumour, plain.tumour)
    far = ~ndimage.binary_dilation(mass, iterations=8)
    assert np.abs(phantom.case.images - plain.case.images)[:, far].max() < 1.0
    inner = mass & ~ndimage.binary_dilation(phantom.tissue == TISSUES.index("lesion"), iterations=2)
    first, last = (phantom.case.phase(index)[inner].mean() for index in (1, 3))
    assert last > first
    assert np.isin(phantom.curve[inner], (PERSISTENT, PLATEAU)).mean() > 0.97
    rise = phantom.case.phase(1) - phantom.case.phase(0)
    assert rise[inner].mean() > 2 * rise[phantom.tissue == TISSUES.index("fat")].mean() + 10
    parts, count = ndimage.label(inner)
    for part in range(1, count + 1):  # homogeneous, but for the coil's shading and the noise
        core = phantom.case.phase(3)[ndimage.binary_erosion(parts == part)]
        assert len(core) < 20 or core.std() < 0.35 * core.mean()


def test_benign_masses_are_smooth() -> None:
    """A ball of the same volume has the smallest surface; lobes have a little more, spicules a lot."""
    rng = np.random.default_rng(0)
    anatomy = make_anatomy(rng, (96, 96, 96), (1.0, 1.0, 1.0), bilateral=False)
    compactness = []
    for _ in range(8):
        mass = draw_benign_mass(rng, anatomy, (1.0, 1.0, 1.0))
        assert mass is not None
        inside = mass.cover > 0.5
        if inside.sum() < 400:
            continue
        surface = measure.mesh_surface_area(*measure.marching_cubes(ndimage.gaussian_filter(mass.cover, 0.7), 0.5)[:2])
        compactness.append(surface / (np.pi ** (1 / 3) * (6 * inside.sum()) ** (2 / 3)))
    assert len(compactness) >= 3
    assert np.median(compactness) < 1.25


def test_the_other_scanner_differs_as_it_says() -> None:
    """The same seed, shape and field of view, with one property after the other put back."""
    scanners = {
        "other": OTHER_SCANNER,
        "noise": replace(OTHER_SCANNER, noise=1.0),
        "enhancement": replace(OTHER_SCANNER, enhancement=1.0),
        "fat": replace(OTHER_SCANNER, fat_suppressed=True),
        **{f"shading {power}": replace(OTHER_SCANNER, noise=0.0, shading=power) for power in (1.0, OTHER_SCANNER.shading, 2.4)},
    }
    made = {name: make_phantom(4, SMALL, 2, 1, 20.0, scanner=scanner) for name, scanner in scanners.items()}
    other = made["other"]
    assert other.case.geometry.spacing == OTHER_SCANNER.spacing
    assert not other.case.metadata["fat_suppressed"] and made["fat"].case.metadata["fat_suppressed"]

    def mean(phantom: Phantom, tissue: str, phase: int = 0) -> float:
        return float(phantom.case.phase(phase)[phantom.tissue == TISSUES.index(tissue)].mean())

    def air(phantom: Phantom) -> float:  # magnitude images of nothing: the mean is proportional to the noise
        far = ~ndimage.binary_dilation(phantom.tissue != TISSUES.index("air"), iterations=4)
        return float(phantom.case.phase(0)[far].mean())

    assert air(other) / air(made["noise"]) == pytest.approx(OTHER_SCANNER.noise, rel=0.05)
    assert mean(other, "fat") > mean(other, "gland") and mean(made["fat"], "fat") < mean(made["fat"], "gland")
    rises = [mean(made[name], "lesion", 1) - mean(made[name], "lesion") for name in ("other", "enhancement")]
    assert rises[0] / rises[1] == pytest.approx(OTHER_SCANNER.enhancement, abs=0.05)
    inside = ndimage.binary_erosion(other.tissue == TISSUES.index("fat"))
    plain, usual, strong = (np.log(made[f"shading {power}"].case.phase(1)[inside]) for power in (1.0, OTHER_SCANNER.shading, 2.4))
    # A power of the sensitivity: its logarithm is scaled, so equal steps of the power are equal steps of the image's logarithm.
    assert np.corrcoef(usual - plain, strong - usual)[0, 1] > 0.99
    assert np.std(usual - plain) > 0.05
