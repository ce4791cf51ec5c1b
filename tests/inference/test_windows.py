"""Windows cover every voxel, lie inside, and overlap enough."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_breastseg.case import slices
from napari_breastseg.inference.windows import STRETCH, TRIM, Blending, Canvas, plan_windows


@pytest.mark.parametrize(
    ("shape", "overlap"), itertools.product([(1, 1, 1), (64, 64, 64), (65, 100, 31), (130, 200, 80), (81, 227, 500)], [0.0, 0.25, 0.5])
)
def test_windows_cover_the_box(shape: tuple[int, int, int], overlap: float) -> None:
    patch = (64, 64, 64)
    covered = np.zeros(shape, bool)
    windows = plan_windows(shape, patch, overlap)
    for window in windows:
        for (low, high), length in zip(window, shape, strict=True):
            assert 0 <= low < high <= length
            assert min(64, length) <= high - low <= 64 * STRETCH
        covered[slices(window)] = True
    assert covered.all()
    for axis in range(3):
        spans = sorted({window[axis] for window in windows})
        assert all(b[0] - a[0] <= (a[1] - a[0]) * (1 - overlap) + 1 for a, b in itertools.pairwise(spans))


def test_windows_are_no_larger_than_they_must_be() -> None:
    windows = plan_windows((119, 170, 117), (128, 128, 128), least=(64, 64, 64))
    assert {tuple(high - low for low, high in window) for window in windows} == {(119, 98, 117)} and len(windows) == 2
    assert plan_windows((119, 170, 117), (128, 128, 128), least=(110, 110, 110))[0][1] == (0, 110)


def test_a_little_more_than_a_patch_is_one_window() -> None:
    assert len(plan_windows((65, 121, 113), (64, 64, 64))) == 4


@pytest.mark.parametrize("blending", ["gaussian", "linear"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_canvas_gives_back_what_all_windows_agree_on(blending: Blending, overlap: float) -> None:
    truth = np.random.default_rng(0).random((70, 33, 101), np.float32)
    windows = plan_windows(truth.shape, (32, 32, 32), overlap)
    canvas = Canvas((70, 33, 101), windows, blending)
    for window in windows:
        canvas.add(window, truth[slices(window)])
    np.testing.assert_allclose(canvas.mean(), truth, rtol=1e-5)


def test_weights_fall_to_both_sides_and_leave_out_what_a_neighbour_sees_better() -> None:
    windows = plan_windows((100, 64, 64), (64, 64, 64))
    canvas = Canvas((100, 64, 64), windows)
    first, last = (canvas.importance(window) for window in (windows[0], windows[-1]))
    np.testing.assert_array_equal(first, last[::-1])
    np.testing.assert_array_equal(first, first[:, ::-1, ::-1])
    assert first[0].min() > 0  # at the edge of the volume there is no neighbour
    assert (first[-TRIM:] == 0).all()
    assert (first[:-TRIM] > 0).all()


def test_until_all_windows_are_there_the_rest_is_what_it_was() -> None:
    windows = plan_windows((100, 32, 32), (64, 32, 32))
    canvas = Canvas((100, 32, 32), windows)
    canvas.add(windows[0], np.ones([high - low for low, high in windows[0]], np.float32))
    mean = canvas.mean_in((slice(None),) * 3, np.full((100, 32, 32), 0.3, np.float32))
    assert (mean[: windows[0][0][1] - TRIM] == 1).all()
    assert (mean[windows[0][0][1] :] == np.float32(0.3)).all()
