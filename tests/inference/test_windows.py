"""Windows cover every voxel, lie inside, and overlap enough."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_breastseg.case import slices
from napari_breastseg.inference.windows import blending_weight, plan_windows


@pytest.mark.parametrize(("shape", "overlap"), itertools.product([(1, 1, 1), (64, 64, 64), (65, 100, 31), (130, 200, 64)], [0.0, 0.25, 0.5]))
def test_windows_cover_the_box(shape: tuple[int, int, int], overlap: float) -> None:
    patch = (64, 64, 64)
    covered = np.zeros(shape, int)
    windows = plan_windows(shape, patch, overlap)
    for window in windows:
        assert all(0 <= low < high <= n and high - low == min(p, n) for (low, high), n, p in zip(window, shape, patch, strict=True))
        covered[slices(window)] += 1
    assert covered.min() == 1 if len(windows) == 1 else covered.min() >= 1
    for axis in range(3):
        starts = sorted({window[axis][0] for window in windows})
        assert all(b - a <= 64 * (1 - overlap) + 1 for a, b in itertools.pairwise(starts))


def test_blending_is_symmetric_and_positive() -> None:
    weight = blending_weight((8, 9, 10))
    assert np.array_equal(weight, weight[::-1, ::-1, ::-1])
    assert weight.min() > 0
