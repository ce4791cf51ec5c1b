"""Resampling between the grid of a case and the working grid of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn.functional import interpolate


def working_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, int, int]:
    """Shape (z, y, x) of a volume of `shape` voxels of `spacing` mm on a grid of about `target` mm."""
    z, y, x = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))
    return z, y, x


def resample(volume: npt.NDArray[np.float32], shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Resample (channel, z, y, x) to `shape` (z, y, x) over the same field of view.

    Linear, after a Gaussian that keeps what the coarser grid cannot show from folding back (sigma = (factor - 1) / 2 voxels).
    """
    if tuple(volume.shape[1:]) == tuple(shape):
        return volume
    factors = [n / m for n, m in zip(volume.shape[1:], shape, strict=True)]
    sigma = [0.0] + [max(0.0, (f - 1) / 2) for f in factors]
    smooth = ndimage.gaussian_filter(volume, sigma) if any(sigma) else volume
    tensor = torch.from_numpy(np.ascontiguousarray(smooth, dtype=np.float32))[None]
    result: npt.NDArray[np.float32] = interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=False)[0].numpy()
    return result
