"""Cohorts of tiny examinations, and a stand-in for the network that is quick and can be told to fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_breastseg.io.listing import ListedCase, list_cases
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, load_model, save_model

sys.path.insert(0, str(Path(__file__).parent))  # the stand-ins can be imported, in the processes that a test starts too

AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


def write_case(folder: Path, seed: int) -> None:
    """Write two phases, in which a block of 27 voxels enhances."""
    folder.mkdir(parents=True, exist_ok=True)
    before = np.random.default_rng(seed).normal(200, 5, (12, 10, 8)).astype(np.float32)
    after = before.copy()
    after[3:6, 3:6, 3:6] += 400
    for index, image in enumerate((before, after)):
        nib.save(nib.Nifti1Image(image, AFFINE), folder / f"scan_{index:04d}.nii.gz")


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., list[ListedCase]]:
    """Write a case of each name, and list them."""

    def make(*names: str) -> list[ListedCase]:
        for seed, name in enumerate(names):
            write_case(tmp_path / "cohort" / name, seed)
        return list_cases(tmp_path / "cohort").cases

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def untrained(seed: int, folder: Path) -> Model:
    torch.manual_seed(seed)
    return load_model(save_model(get_preset("hcma-unet").build().state_dict(), {"preset": "hcma-unet/practical"}, folder))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return untrained(0, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return untrained(1, tmp_path_factory.mktemp("weights"))
