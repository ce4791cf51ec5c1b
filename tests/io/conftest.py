from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

AFFINE = np.diag([-0.8, -0.7, 1.2, 1.0]) + np.array([[0, 0, 0, 31.0], [0, 0, 0, 22.0], [0, 0, 0, -9.0], [0, 0, 0, 0]])


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as a NIfTI file in the test's folder."""

    def _save(name: str, array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64] = AFFINE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return _save


@pytest.fixture
def series(save: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with four phases of 6 x 5 x 4 voxels (i, j, k), named as nnU-Net does."""
    rng = np.random.default_rng(1)
    for phase in range(4):
        save(f"series/case_1_{phase:04d}.nii.gz", rng.integers(0, 900, (6, 5, 4)).astype(np.uint16))
    return tmp_path / "series"
