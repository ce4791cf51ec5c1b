from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from napari_breastseg.case import Case, Prediction
from napari_breastseg.cli.app import app
from napari_breastseg.loop import annotation_loop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.progress import Job, Progress

SHAPE = (20, 16, 12)  # as stored: i, j, k
AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


@pytest.fixture
def cli() -> Callable[..., Said]:
    """Run a command in this process."""

    def call(*arguments: str | Path) -> Said:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model."""
    torch.manual_seed(0)
    network = get_preset("hcma-unet").build()
    return save_model(network.state_dict(), {"preset": "hcma-unet/practical", "parent": None}, tmp_path_factory.mktemp("weights"))


def write(path: Path, array: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def tumour() -> npt.NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:14, 4:12, 3:9] = 1
    return mask


@pytest.fixture
def phases(tmp_path: Path) -> Path:
    """A folder with three phases and the tumour's mask ``truth.nii.gz``."""
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.normal(200, 20, SHAPE) + 300.0 * tumour() * (index > 0)
        write(tmp_path / "case" / f"case_{index:04d}.nii.gz", image.astype(np.float32))
    write(tmp_path / "case" / "truth.nii.gz", tumour())
    return tmp_path / "case"


def fake_predict(case: Case, model: Model, *, device: str = "auto", region: str = "breast", mirror: bool = False) -> Job[Prediction]:
    """Find the middle of the tumour only, and a false region."""
    yield Progress(0, 1, "predicting")
    print("a library that prints")
    probability = np.zeros(case.shape, np.float32)
    probability[5:6, 6:8, 8:10] = 0.9
    probability[0:2, 0:3, 0:3] = 0.8
    mask = (probability > 0.5).astype(np.uint8)
    return Prediction(model.sha, probability, mask, mask, details={"device": "cpu", "seconds": 0.0})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network runs: the prediction is fixed, the learner a stand-in that always adopts."""
    monkeypatch.setattr(annotation_loop, "predict", fake_predict)
    monkeypatch.setattr("napari_breastseg.inference.predict", fake_predict)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "loop"))
    monkeypatch.setattr(annotation_loop, "LEARNER", "learning_targets:adopt")
