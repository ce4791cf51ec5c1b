"""Curves of lesions and neighbourhoods, and the worst curve, against loops over voxels."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Timing, lesion_curve, lesion_kinetics, neighbourhood_curve, reading, timing_of
from napari_breastseg.kinetics.curves import PERSISTENT, PLATEAU, WASHOUT, curve_type, wash_out
from napari_breastseg.phantom import Phantom, make_phantom

TIMES = (-60.0, 90.0, 180.0, 270.0, 360.0)
TIMING = Timing(TIMES)


@pytest.fixture(scope="module")
def scan() -> Phantom:
    return make_phantom(5, (32, 48, 48), lesions=1, diameter=24)


def flat_case(shape: tuple[int, int, int], *curve: float) -> Case:
    """Every voxel has the same curve."""
    images = np.empty((len(curve), *shape), np.float32)
    images[:] = np.array(curve)[:, None, None, None]
    return Case("flat", images, Geometry((2.0, 1.0, 0.5), np.eye(4), (shape[2], shape[1], shape[0])), TIMES[: len(curve)])


def test_the_curve_of_a_lesion_is_mean_and_sd_of_its_voxels(scan: Phantom) -> None:
    mask = scan.tumour.copy()
    mask[0] = 255  # not decided: no tumour
    values = scan.case.images[:, scan.tumour == 1].astype(np.float64)
    found = lesion_curve(scan.case, mask)
    np.testing.assert_allclose(found.mean, values.mean(axis=1))
    np.testing.assert_allclose(found.sd, values.std(axis=1))
    assert found.voxels == (scan.tumour == 1).sum()


@pytest.mark.parametrize(
    ("index", "box"), [((10, 20, 30), (9, 12, 19, 22, 29, 32)), ((0, 0, 47), (0, 2, 0, 2, 46, 48)), ((31, 5, 0), (30, 32, 4, 7, 0, 2))]
)
def test_a_neighbourhood_is_the_27_voxels_around_and_fewer_at_the_edge(
    scan: Phantom, index: tuple[int, int, int], box: tuple[int, ...]
) -> None:
    z0, z1, y0, y1, x0, x1 = box
    values = scan.case.images[:, z0:z1, y0:y1, x0:x1].reshape(scan.case.phases, -1).astype(np.float64)
    found = neighbourhood_curve(scan.case, index)
    np.testing.assert_allclose(found.mean, values.mean(axis=1))
    np.testing.assert_allclose(found.sd, values.std(axis=1))
    assert found.voxels == values.shape[1]


def test_a_neighbourhood_reads_nothing_else(scan: Phantom) -> None:
    class Watched:
        shape, dtype = scan.case.images.shape, scan.case.images.dtype
        read = 0

        def __getitem__(self, place: Any) -> Any:
            part = scan.case.images[place]
            self.read += part.size
            return part

    images = Watched()
    neighbourhood_curve(replace(scan.case, images=images), (10, 10, 10))
    assert images.read == 27 * scan.case.phases


def test_a_neighbourhood_follows_the_cursor() -> None:
    """A crowded machine may interrupt any one reading: the best of twenty counts."""
    case = flat_case((64, 256, 256), 100, 200, 190, 180, 170)

    def seconds() -> float:
        start = time.perf_counter()
        neighbourhood_curve(case, (30, 100, 100))
        return time.perf_counter() - start

    assert min(seconds() for _ in range(20)) < 0.005


def test_a_uniform_lesion_is_its_curve() -> None:
    """3 x 4 x 5 voxels of 1 mm3 that rise by 100 % and fall to 170: -15 % of 200."""
    case = flat_case((8, 9, 10), 100, 200, 190, 180, 170)
    mask = np.zeros(case.shape, np.uint8)
    mask[2:5, 2:6, 2:7] = 1
    found = lesion_kinetics(case, TIMING, mask)
    assert found.ml == pytest.approx(0.060)
    assert found.summary.pe == pytest.approx(90) and found.peak_pe == pytest.approx(90)
    assert found.summary.ser == pytest.approx(90 / 70)
    assert found.shares == pytest.approx((0, 0, 0, 100))
    assert found.worst is not None and found.worst.voxels == 27 and found.worst.summary.type == WASHOUT
    assert found.words == (
        "0.06 mL, PE 90 % at 180 s (highest 90 %), SER 1.29; wash-out: medium initial rise (+100 % at 90 s), then -15 % until 360 s; "
        "0 % no uptake, 0 % persistent, 0 % plateau, 100 % wash-out; worst wash-out: medium initial rise (+100 % at 90 s), "
        "then -15 % until 360 s"
    )


def test_shares_count_the_voxels_of_each_type() -> None:
    case = flat_case((3, 3, 8), 100, 200, 200, 200, 200)
    case.images[4, :, :, 0] = 230  # an eighth persistent
    case.images[4, :, :, 1:3] = 170  # a quarter wash-out
    case.images[:, :, :, 3] = 100  # an eighth without uptake
    assert lesion_kinetics(case, TIMING, np.ones(case.shape)).shares == pytest.approx((12.5, 12.5, 50, 25))


def brute_worst(case: Case, mask: Any, timing: Timing) -> tuple[tuple[int, int, int], Any]:
    """Every 3 x 3 x 3 neighbourhood that lies in the mask, one by one."""
    best: tuple[int, float] | None = None
    for index in itertools.product(*(range(1, n - 1) for n in case.shape)):
        part = tuple(slice(i - 1, i + 2) for i in index)
        if not (mask[part] == 1).all():
            continue
        mean = case.images[(slice(None), *part)].reshape(case.phases, -1).astype(np.float64).mean(axis=1)
        if mean[-1] < mean[0]:
            continue
        rank = (int(curve_type(mean, timing)), -float(wash_out(mean, timing)))
        if best is None or rank > best:
            best, place, curve = rank, index, mean
    return place, curve


def test_the_worst_curve_is_the_most_suspicious_of_all_neighbourhoods(scan: Phantom) -> None:
    timing = timing_of(scan.case)
    found = lesion_kinetics(scan.case, timing, scan.tumour).worst
    place, curve = brute_worst(scan.case, scan.tumour, timing)
    assert found is not None and found.place == place and found.voxels == 27
    np.testing.assert_allclose(found.mean, curve, rtol=1e-5)


def test_slabs_and_lazy_cases_change_nothing(scan: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = timing_of(scan.case)
    expected = lesion_kinetics(scan.case, timing, scan.tumour)
    monkeypatch.setattr(reading, "SAMPLES", 1)  # slice by slice
    lazy = replace(scan.case, images=da.from_array(scan.case.images, chunks=(1, 8, 16, 16)))
    for case in (scan.case, lazy):
        found = lesion_kinetics(case, timing, scan.tumour)
        assert found.worst is not None and expected.worst is not None
        assert (found.ml, found.shares, found.worst.place) == (expected.ml, expected.shares, expected.worst.place)
        assert found.peak_pe == pytest.approx(expected.peak_pe, rel=1e-5)
        np.testing.assert_allclose(found.curve.mean, expected.curve.mean)
        np.testing.assert_allclose(found.worst.mean, expected.worst.mean, rtol=1e-5)


def test_wash_out_comes_before_a_steeper_plateau_and_noise_of_one_voxel_counts_little() -> None:
    case = flat_case((3, 3, 30), 100, 200, 200, 200, 205)
    case.images[:, 1, 1, 5] = 100, 400, 100, 100, 100  # one voxel of extreme wash-out in 27
    case.images[4, :, :, 20:23] = 175
    worst = lesion_kinetics(case, TIMING, np.ones(case.shape)).worst
    assert worst is not None and worst.place == (1, 1, 21) and worst.summary.type == WASHOUT


def test_a_thin_lesion_has_its_best_neighbourhood_and_only_its_own_voxels() -> None:
    """One slice: at most nine of 27 voxels; what lies around would be persistent."""
    case = flat_case((5, 7, 7), 100, 200, 220, 240, 260)
    case.images[:, 2, 1:6, 1:6] = np.array([100, 200, 190, 180, 170])[:, None, None]
    mask = np.zeros(case.shape, np.uint8)
    mask[2, 1:6, 1:6] = 1
    worst = lesion_kinetics(case, TIMING, mask).worst
    assert worst is not None and worst.voxels == 9
    np.testing.assert_allclose(worst.mean, [100, 200, 190, 180, 170], rtol=1e-6)


def test_curves_that_end_below_the_baseline_are_motion_unless_there_are_no_others() -> None:
    case = flat_case((3, 3, 9), 100, 200, 205, 205, 205)
    case.images[4, :, :, 6:] = 60
    mask = np.ones(case.shape)
    worst = lesion_kinetics(case, TIMING, mask).worst
    assert worst is not None and worst.mean[-1] >= 100
    mask[:, :, :6] = 0
    worst = lesion_kinetics(case, TIMING, mask).worst
    assert worst is not None and worst.mean[-1] == pytest.approx(60)


def test_a_single_voxel_is_a_lesion_too() -> None:
    case = flat_case((3, 3, 3), 100, 200, 200, 200, 200)
    mask = np.zeros(case.shape)
    mask[0, 0, 0] = 1
    found = lesion_kinetics(case, TIMING, mask)
    assert found.worst is not None and (found.worst.voxels, found.worst.summary.type) == (1, PLATEAU)


def test_two_phases_have_no_types_and_no_worst_curve() -> None:
    case = flat_case((4, 4, 4), 100, 180)
    found = lesion_kinetics(case, timing_of(case), np.ones(case.shape))
    assert found.shares is found.worst is found.summary.type is None
    assert found.words == "0.06 mL, PE 80 % at 90 s (highest 80 %); medium initial rise (+80 % at 90 s)"


def test_a_persistent_lesion_is_not_called_worse() -> None:
    case = flat_case((4, 4, 4), 100, 150, 170, 190, 210)
    worst = lesion_kinetics(case, TIMING, np.ones(case.shape)).worst
    assert worst is not None and worst.summary.type == PERSISTENT


def test_what_cannot_be_measured_is_refused() -> None:
    case = flat_case((4, 5, 6), 100, 200, 200, 200, 200)
    for measure in (lambda mask: lesion_curve(case, mask), lambda mask: lesion_kinetics(case, TIMING, mask)):
        with pytest.raises(InputError, match="mask is empty"):
            measure(np.full(case.shape, 255, np.uint8))
        with pytest.raises(InputError, match="has the shape"):
            measure(np.ones((4, 5, 7), np.uint8))
    with pytest.raises(InputError, match="outside flat"):
        neighbourhood_curve(case, (4, 0, 0))
    with pytest.raises(InputError, match="outside flat"):
        neighbourhood_curve(case, (0, -1, 0))
    with pytest.raises(InputError, match="5 phases, the times 2"):
        lesion_kinetics(case, Timing((-60.0, 90.0)), np.ones(case.shape))
    case.images[3, 1, 1, 1] = np.inf
    with pytest.raises(InputError, match="no numbers"):
        lesion_curve(case, np.ones(case.shape))
