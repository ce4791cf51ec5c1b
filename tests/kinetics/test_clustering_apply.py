"""Voxels drawn from a case and the clusters of all of them, against the network and the definitions applied voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import reading
from napari_breastseg.kinetics.clustering import Codebook, cluster_map, draw_curves, merge_non_enhancing
from napari_breastseg.kinetics.clustering.grid import grid_of
from napari_breastseg.kinetics.clustering.labeller import Labeller
from napari_breastseg.kinetics.clustering.voxels import floor_of
from napari_breastseg.phantom.curves import make_curves
from napari_breastseg.progress import run

SECONDS = (-60.0, -10.0, 70.0, 190.0, 310.0, 430.0)
SHAPE = (10, 24, 25)


def random_codebook(seed: int = 0) -> Codebook:
    """Layers that spread curves over all ten codes: centroids are encodings of random curves."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        (rng.normal(scale=0.3, size=(o, i)).astype(np.float32), rng.normal(scale=0.1, size=o).astype(np.float32))
        for o, i in ((64, 16), (64, 64), (8, 64))
    )
    mask = np.array([1, 1, 1, 1, 1, 1, 1, 0], float)
    centroids = np.stack([encode(layers, rng.random(8) * mask, mask) for _ in range(10)]).astype(np.float32)
    return Codebook(layers, centroids, rng.random((10, 7)).astype(np.float32), {})


def encode(layers: tuple[tuple[np.ndarray, np.ndarray], ...], nodes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The encoder in float64, one curve at a time."""
    h = np.concatenate([nodes, mask]).astype(np.float64)
    for number, (weight, bias) in enumerate(layers):
        h = weight.astype(np.float64) @ h + bias
        h = np.maximum(h, 0) if number < 2 else h
    return h


def a_case(seed: int = 0, lazy: bool = False) -> tuple[Case, np.ndarray]:
    """A box of enhancing curves in fat that does not enhance, in a breast that leaves out the outermost voxels."""
    rng = np.random.default_rng(seed)
    images = np.hypot(80 + rng.normal(0, 4, (6, *SHAPE)), rng.normal(0, 4, (6, *SHAPE))).astype(np.float32)
    images[:, 3:6, 6:16, 5:15] = make_curves(seed, SECONDS, 60).signals.reshape(6, 3, 10, 10)
    breast = np.zeros(SHAPE, np.uint8)
    breast[1:-1, 2:-2, 2:-2] = 1
    geometry = Geometry((1.0, 1.0, 1.0), np.eye(4), SHAPE[::-1])
    return Case("small", da.from_array(images, chunks=(1, 4, 24, 25)) if lazy else images, geometry), breast


def test_the_folded_encoder_chooses_the_nearest_code() -> None:
    codebook = random_codebook()
    values = np.random.default_rng(1).random((6, 500)).astype(np.float32)
    grid = grid_of(SECONDS, codebook.reach)
    labels = Labeller.of(codebook, SECONDS).label(values)
    assert len(np.unique(labels)) >= 8
    for voxel in range(500):
        z = encode(codebook.layers, values[:, voxel].astype(np.float64) @ grid.matrix, grid.mask)
        distance = np.linalg.norm(codebook.centroids - z, axis=1)
        assert distance[labels[voxel] - 1] <= distance.min() + 1e-4


def test_a_voxel_enhances_if_its_range_is_neither_small_nor_noise() -> None:
    """The levels against a bootstrap: of six samples of this noise, the range is exceeded once in a hundred times."""
    rng = np.random.default_rng(0)
    images = (200 + rng.normal(0, 9, (6, 20, 40, 40))).astype(np.float32)
    case = Case("noise", images, Geometry((1.0, 1.0, 1.0), np.eye(4), (40, 40, 20)))
    floor = floor_of(case, SECONDS, np.ones((20, 40, 40), bool))
    assert floor.baseline == pytest.approx(20, rel=0.01)
    assert floor.extent == pytest.approx(np.quantile(np.ptp(rng.normal(0, 9, (6, 200_000)), axis=0), 0.99), rel=0.03)
    quiet = Case("quiet", 200 + (images - 200) / 100, case.geometry)
    assert floor_of(quiet, SECONDS, np.ones((20, 40, 40), bool)).extent == pytest.approx(20, rel=0.01)


def test_every_breast_voxel_gets_the_cluster_of_its_own_curve() -> None:
    case, breast = a_case()
    codebook = random_codebook()
    found = run(cluster_map(case, SECONDS, breast, codebook))
    floor = floor_of(case, SECONDS, breast == 1)
    assert found.codebook == codebook.sha and found.labels.dtype == np.uint8
    assert not found.labels[breast == 0].any() and (found.labels[breast == 1] > 0).all()
    signals = case.images[:, breast == 1].astype(np.float64)
    extent = np.ptp(signals, axis=0)
    labels = found.labels[breast == 1]
    assert np.array_equal(labels == 11, extent < floor.extent)
    assert 0.02 < (labels == 11).mean() < 0.98
    values = ((signals - signals.min(0)) / extent).astype(np.float32)
    expected = Labeller.of(codebook, SECONDS).label(values)
    assert (labels == expected)[labels < 11].mean() > 0.999


def test_mean_curves_are_those_of_the_voxels_of_a_cluster() -> None:
    case, breast = a_case()
    case.images[:, 4, 8, 8] = [0, 0, 90, 80, 70, 60]  # no baseline: a curve, but no percent enhancement
    found = run(cluster_map(case, SECONDS, breast, random_codebook()))
    assert sum(curve.voxels for curve in found.curves.values()) == breast.sum()
    assert set(found.curves) == set(np.unique(found.labels[breast == 1]).tolist())
    for label, curve in found.curves.items():
        signals = case.images[:, found.labels == label].astype(np.float64)
        extent = np.ptp(signals, axis=0)
        normalised = (signals - signals.min(0)) / extent
        before = signals[:2].mean(0)
        enhancement = 100 * (signals[:, before > 8] / before[before > 8] - 1)
        assert curve.voxels == signals.shape[1]
        np.testing.assert_allclose(curve.normalised, normalised.mean(1), atol=1e-5)
        np.testing.assert_allclose(curve.normalised_sd, normalised.std(1), atol=1e-5)
        np.testing.assert_allclose(curve.pe, enhancement.mean(1), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(curve.pe_sd, enhancement.std(1), rtol=1e-3, atol=1e-3)


def test_constant_saturated_and_dark_voxels_do_not_enhance() -> None:
    case, breast = a_case()
    for place, level in (((4, 8, 8), 0.0), ((4, 8, 9), 4095.0), ((4, 8, 10), 80.0)):
        case.images[(slice(None), *place)] = level
    found = run(cluster_map(case, SECONDS, breast, random_codebook()))
    assert found.labels[4, 8, 8:11].tolist() == [11, 11, 11]
    assert all(np.isfinite([c.pe, c.pe_sd, c.normalised, c.normalised_sd]).all() for c in found.curves.values())


def test_a_lazy_case_read_in_slabs_and_one_in_memory_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(cluster_map(a_case()[0], SECONDS, a_case()[1], random_codebook()))
    monkeypatch.setattr(reading, "SAMPLES", 2 * 6 * 20 * 21)
    case, breast = a_case(lazy=True)
    slabs = run(cluster_map(case, SECONDS, breast, random_codebook()))
    np.testing.assert_array_equal(slabs.labels, whole.labels)
    np.testing.assert_allclose(slabs.curves[11].pe, whole.curves[11].pe, rtol=1e-9)


def test_no_enhancement_can_be_counted_to_the_flattest_cluster() -> None:
    codebook = random_codebook()
    labels = np.array([0, 1, 10, 11], np.uint8)
    assert merge_non_enhancing(labels, codebook).tolist() == [0, 1, 10, codebook.flattest]


def test_voxels_are_drawn_in_equal_number_from_tumour_and_rest_and_all_enhance() -> None:
    case, breast = a_case()
    tumour = np.zeros(SHAPE, np.uint8)
    tumour[3:5, 6:10, 5:10] = 1
    curves = run(draw_curves(case, SECONDS, breast, tumour, voxels=30))
    assert curves.tumour is not None
    assert curves.values.shape == (6, 60) and curves.tumour.sum() == 30
    floor = floor_of(case, SECONDS, breast == 1)
    known = {}
    for z, y, x in np.argwhere(breast == 1):
        signals = case.images[:, z, y, x]
        extent = np.ptp(signals)
        known[((signals - signals.min()) / max(extent, 1e-6)).tobytes()] = (bool(tumour[z, y, x]), extent)
    for values, flag in zip(curves.values.T, curves.tumour, strict=True):
        truth, extent = known[np.ascontiguousarray(values).tobytes()]
        assert flag == truth and extent >= floor.extent


def test_a_sample_is_uniform_whatever_the_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves of three slices, told apart by their shape, are drawn by the number of their voxels; five more slices do not enhance."""
    images = np.full((3, 8, 40, 40), 50, np.float32)
    images[2, :3] = 150
    images[1, :3] = np.array([75, 100, 125])[:, None, None]
    case = Case("slices", images, Geometry((1.0, 1.0, 1.0), np.eye(4), (40, 40, 8)))
    monkeypatch.setattr(reading, "SAMPLES", 1)
    breast = np.ones((8, 40, 40), np.uint8)
    breast[2, 20:] = 0
    values = run(draw_curves(case, (-10.0, 60.0, 180.0), breast, voxels=1000)).values
    shares = [np.isclose(values[1], level).mean() for level in (0.25, 0.5, 0.75)]
    assert shares == pytest.approx([0.4, 0.4, 0.2], abs=0.05)
    again = run(draw_curves(case, (-10.0, 60.0, 180.0), breast, voxels=1000)).values
    np.testing.assert_array_equal(values, again)


Refused = Callable[[Case, np.ndarray], object]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda case, breast: cluster_map(case, SECONDS[:5], breast, random_codebook()), "5 phase times were given for 6"),
        (lambda case, breast: cluster_map(case, SECONDS, breast[1:], random_codebook()), "Use the mask of this case"),
        (lambda case, breast: cluster_map(case, SECONDS, breast * 0, random_codebook()), "is empty"),
        (lambda case, breast: draw_curves(case, SECONDS[::-1], breast), "do not increase"),
        (lambda case, breast: draw_curves(case, SECONDS, breast, breast[1:]), "The tumour mask has the shape"),
    ],
)
def test_what_does_not_belong_to_the_case_is_refused(wrong: Refused, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(wrong(*a_case()))  # type: ignore[arg-type]


def test_values_that_are_no_numbers_and_a_breast_without_enhancement_are_refused() -> None:
    case, breast = a_case()
    case.images[2, 5, 5, 5] = np.nan
    for job in (cluster_map(case, SECONDS, breast, random_codebook()), draw_curves(case, SECONDS, breast)):
        with pytest.raises(InputError, match="NaN"):
            run(job)
    case.images[...] = 100
    with pytest.raises(InputError, match="No voxel of small enhances"):
        run(draw_curves(case, SECONDS, breast))
