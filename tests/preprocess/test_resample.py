"""Resampling is a Gaussian and linear interpolation, whole, in part, and slab by slab."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

from napari_breastseg.preprocess import resample as room
from napari_breastseg.preprocess.resample import resample, resample_read

Shape = tuple[int, int, int]
SHAPES: list[tuple[Shape, Shape]] = [
    ((40, 50, 60), (20, 22, 70)), ((5, 60, 1), (9, 30, 1)), ((33, 17, 90), (66, 34, 31)), ((7, 8, 9), (7, 8, 9)), ((12, 13, 14), (1, 1, 1)),
]  # fmt: skip


def oracle(volume: np.ndarray, shape: Shape) -> np.ndarray:
    """SciPy's Gaussian and torch's interpolation, in float64."""
    sigma = [0.0] + [max(0.0, (n / m - 1) / 2) for n, m in zip(volume.shape[1:], shape, strict=True)]
    smooth = torch.from_numpy(ndimage.gaussian_filter(volume.astype(np.float64), sigma))
    return interpolate(smooth[None], size=shape, mode="trilinear", align_corners=False)[0].numpy()


@pytest.mark.parametrize(("given", "wanted"), SHAPES)
def test_it_is_a_gaussian_and_linear_interpolation(given: Shape, wanted: Shape) -> None:
    volume = np.random.default_rng(0).normal(size=(2, *given)).astype(np.float32)
    np.testing.assert_allclose(resample(volume, wanted), oracle(volume, wanted), atol=1e-5)


@pytest.mark.parametrize(("given", "wanted"), SHAPES)
def test_slab_by_slab_gives_the_same(given: Shape, wanted: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SLAB", 3 * given[1] * given[2])
    volume = np.random.default_rng(0).normal(size=given).astype(np.float32)
    largest = []

    def read(slab: slice) -> np.ndarray:
        largest.append(slab.stop - slab.start)
        return volume[slab]

    np.testing.assert_allclose(resample_read(read, given, wanted), oracle(volume[None], wanted)[0], atol=1e-5)
    assert max(largest) <= 3
    assert sum(largest) == given[0]


def test_a_part_is_that_part_of_the_whole() -> None:
    volume = np.random.default_rng(0).normal(size=(1, 12, 13, 14)).astype(np.float32)
    place = (slice(2, 9), slice(0, 30), slice(20, 21))
    np.testing.assert_allclose(resample(volume, (24, 30, 28), place), resample(volume, (24, 30, 28))[(slice(None), *place)], atol=1e-6)


def test_what_may_not_be_written_is_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    volume = np.ones((1, 4, 4, 4), np.float32)
    volume.flags.writeable = False
    resample(volume, (2, 2, 2))
    assert not recwarn.list


def test_resampling_keeps_a_ramp_and_the_mean() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32), (1, 20, 30, 40)).copy()
    half = resample(ramp, (10, 15, 20))
    assert half.mean() == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(half[0, 5, 5, 3:-3], ramp[0, 0, 0].reshape(20, 2).mean(1)[3:-3], atol=1e-3)
