"""Windows cover every voxel, lie inside, and overlap enough."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_breastseg.case import slices
from napari_breastseg.inference.windows import STRETCH, blending_weight, plan_windows


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


def test_a_little_more_than_a_patch_is_one_window() -> None:
    assert len(plan_windows((65, 121, 113), (64, 64, 64))) == 4


def test_blending_is_symmetric_and_positive() -> None:
    weight = blending_weight((8, 9, 10))
    assert np.array_equal(weight, weight[::-1, ::-1, ::-1])
    assert weight.min() > 0
