"""Curves of any protocol on one grid: against numpy's interpolation, curve by curve."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering.curves import Curves, draw_batch
from napari_breastseg.kinetics.clustering.grid import NODES, grid_of, normalise

PROTOCOLS = [
    (-30.0, 60.0, 150.0),
    (-1310.0, 60.7, 182.1, 304.8, 426.3),
    (0.0, 75.0, 150.0, 225.0, 300.0, 375.0),
    (-90.0, -45.0, 0.0, 90.0, 180.0, 540.0),
    tuple(16.4 * i - 60 for i in range(25)),
]


@pytest.mark.parametrize("seconds", PROTOCOLS)
def test_nodes_are_interpolated_between_the_phases_and_masked_behind_the_last(seconds: tuple[float, ...]) -> None:
    curves = np.random.default_rng(0).random((len(seconds), 7))
    grid = grid_of(seconds)
    before = sum(t <= 0 for t in seconds)
    for voxel in range(7):
        times = [0.0, *seconds[before:]]
        values = [curves[:before, voxel].mean(), *curves[before:, voxel]]
        expected = [np.interp(node, times, values) if node <= seconds[-1] else 0.0 for node in NODES]
        np.testing.assert_allclose(curves[:, voxel] @ grid.matrix, expected, atol=1e-6)
    assert grid.mask.tolist() == [float(node <= seconds[-1]) for node in NODES]


def test_a_codebook_s_reach_masks_what_lies_behind_it() -> None:
    grid = grid_of(PROTOCOLS[3], reach=5)
    assert grid.mask.tolist() == [1, 1, 1, 1, 1, 0, 0, 0] and grid.reach == 5
    assert not grid.matrix[:, 5:].any()


def test_normalising_keeps_the_shape_and_constant_or_saturated_voxels_are_zero() -> None:
    signals = np.array([[10, 7, 0, 4095], [30, 7, 0, 4095], [20, 7, 0, 4095]], np.float32)
    values, extent = normalise(signals)
    np.testing.assert_array_equal(values[:, 0], [0, 1, 0.5])
    np.testing.assert_array_equal(values[:, 1:], 0)
    np.testing.assert_array_equal(extent, [20, 0, 0, 0])
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((-30.0, 90.0), "at least 3 phases"),
        ((-30.0, 180.0, 90.0), "do not increase"),
        ((-30.0, 90.0, float("nan")), "do not increase"),
        ((30.0, 90.0, 180.0), "0 of the 3 phases lie before"),
        ((-60.0, -30.0, 180.0), "2 of the 3 phases lie before"),
        ((-30.0, 40.0, 80.0), "80 s after the contrast"),
    ],
)
def test_times_that_say_too_little_are_refused_in_one_sentence(seconds: tuple[float, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        grid_of(seconds)


def test_curves_that_do_not_fit_are_refused() -> None:
    seconds = (-30.0, 90.0, 180.0)
    good = np.zeros((3, 5), np.float32)
    with pytest.raises(InputError, match="3 phases, got"):
        Curves(good.T, seconds)
    with pytest.raises(InputError, match="at least one voxel"):
        Curves(good[:, :0], seconds)
    with pytest.raises(InputError, match="4 tumour flags"):
        Curves(good, seconds, np.zeros(4, bool))
    good[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        Curves(good, seconds)


def flagged(tumour: int, rest: int, value: float, seconds: tuple[float, ...] = (-30.0, 90.0, 180.0)) -> Curves:
    """Curves that tell case and tissue apart: the second phase is `value` in tumour and half of it elsewhere."""
    values = np.zeros((len(seconds), tumour + rest), np.float32)
    values[-1] = 1
    values[1, :tumour], values[1, tumour:] = value, value / 2
    return Curves(values, seconds, np.arange(tumour + rest) < tumour)


def test_a_batch_has_as_much_of_every_case_and_as_much_tumour_as_other_tissue() -> None:
    cases = [flagged(3, 5000, 0.8), flagged(400, 100, 0.6)]
    batch = draw_batch(cases, 400, 0.0, np.random.default_rng(0))
    at_90 = batch.nodes[:, 1].numpy() * 1.5  # node 60 lies at two thirds of the way to the phase at 90 s
    counts = [int(np.isclose(at_90, value, atol=1e-5).sum()) for value in (0.8, 0.4, 0.6, 0.3)]
    assert counts == [100, 100, 100, 100]


def test_without_a_tumour_mask_tissues_are_drawn_by_their_size() -> None:
    curves = flagged(1000, 3000, 0.8)
    batch = draw_batch([Curves(curves.values, curves.seconds)], 4000, 0.0, np.random.default_rng(0))
    share = np.isclose(batch.nodes[:, 1].numpy() * 1.5, 0.8, atol=1e-5).mean()
    assert share == pytest.approx(0.25, abs=0.03)


def test_phases_left_out_are_as_if_never_taken() -> None:
    """Whatever is left out, the batch is the reduced protocol's own curve; the baselines, the first phase and the last always stay."""
    seconds = (-60.0, -20.0, 70.0, 190.0, 310.0, 430.0)
    curve = np.array([0.1, 0.0, 0.7, 1.0, 0.9, 0.4], np.float32)
    case, rng, seen = Curves(curve[:, None], seconds), np.random.default_rng(0), set()
    for _ in range(60):
        nodes = draw_batch([case], 1, 0.5, rng).nodes[0].numpy()
        for left_out in ((), (3,), (4,), (3, 4)):
            kept = [i for i in range(6) if i not in left_out]
            values, _ = normalise(curve[kept, None])
            if np.allclose(nodes, values[:, 0] @ grid_of(tuple(seconds[i] for i in kept)).matrix, atol=1e-6):
                seen.add(left_out)
                break
        else:
            pytest.fail(f"no reduced protocol gives {nodes}")
    assert seen == {(), (3,), (4,), (3, 4)}


def test_cases_that_end_early_have_masked_nodes_and_enough_phases() -> None:
    seconds = (-40.0, 70.0, 130.0, 250.0, 430.0)
    case = Curves(np.random.default_rng(0).random((5, 9)).astype(np.float32), seconds)
    rng = np.random.default_rng(1)
    reaches = {int(draw_batch([case], 9, 0.0, rng, early=True).mask[0].sum()) for _ in range(40)}
    assert reaches == {3, 5, 7}  # ends at 130 s, 250 s or 430 s, never after one phase alone
