"""Prediction: coarse first, on the case's own grid, cancellable, and clear about what it cannot do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_breastseg.case import Case, slices
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference import Preview, pick_device, predict
from napari_breastseg.inference.predict import SMALLEST_ML, clean_mask
from napari_breastseg.inference.runner import Runner
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.phantom import Phantom, make_phantom
from napari_breastseg.progress import run

Read = Callable[[Case], npt.NDArray[np.float32]]


class Bright(SegmentationNetwork):
    """Calls tumour what the subtraction shows brighter than four deviations."""

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]

    def decode(self, encoded: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        score = 4 * (encoded[0][:, -1] - 4)
        return torch.stack([-score / 2, score / 2], 1)

    def features(self, encoded: Sequence[torch.Tensor], size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return encoded[0], self.decode(encoded, size)


@pytest.fixture
def phantom() -> Phantom:
    return make_phantom(11, (48, 80, 80), phases=2, lesions=1, diameter=20.0)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(Model, "network", lambda self, device="cpu": Bright())
    return Model(get_preset("hcma-unet/practical"), {}, {"preset": "hcma-unet/practical"}, "0" * 64, Path("none"))


def test_coarse_comes_first_and_windows_fill_the_rest(phantom: Phantom, model: Model) -> None:
    seen = []
    prediction = run(predict(phantom.case, model, device="cpu"), lambda p: seen.append(p.payload))
    previews = [p for p in seen if isinstance(p, Preview)]
    kinds = [p.kind for p in previews]
    assert kinds[0] == "coarse"
    assert kinds == sorted(kinds)  # every coarse one before the refined ones
    assert all(p.probability.shape == tuple(b - a for a, b in p.box) for p in previews)
    assert prediction.refined.shape == prediction.probability.shape == phantom.case.shape
    last = previews[-1]
    assert last.probability.max() <= prediction.probability[slices(last.box)].max() + 1e-6
    assert prediction.details["windows"] == kinds.count("refined")
    assert prediction.details["region"] == "breast"


def test_a_network_that_needs_no_context_gives_its_own_answer(phantom: Phantom, model: Model, read_whole: Read) -> None:
    """With a voxel-wise network, windows, blending and resampling must not matter: compare with the network on the whole case."""
    prediction = run(predict(phantom.case, model, device="cpu", region="full"))
    channels = read_whole(phantom.case)
    whole = torch.sigmoid(torch.from_numpy(4 * (channels[-1] - 4))).numpy()
    sure = (whole < 0.01) | (whole > 0.99)
    agree = (prediction.probability > 0.5) == (whole > 0.5)
    assert agree[sure].mean() > 0.99


def test_cancelling_stops_at_the_next_window(phantom: Phantom, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = []
    monkeypatch.setattr(Runner, "probability", lambda self, images: windows.append(1) or np.zeros((1, *images.shape[2:]), np.float32))
    run(predict(phantom.case, model, device="cpu", region="full"))
    total = len(windows)
    windows.clear()
    job = predict(phantom.case, model, device="cpu", region="full")
    while not (isinstance(shown := next(job).payload, Preview) and shown.kind == "refined"):
        pass
    job.close()
    assert 0 < len(windows) < total


def test_small_specks_are_dropped_from_masks() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[0, 0, 0] = True
    mask[4:8, 4:8, 4:8] = True
    voxel = SMALLEST_ML / 8
    assert clean_mask(mask, voxel).sum() == 64
    assert clean_mask(mask, SMALLEST_ML).sum() == 65


def test_other_modalities_and_missing_devices_are_refused(phantom: Phantom, model: Model) -> None:
    case = phantom.case
    with pytest.raises(InputError, match="made for dce-mri"):
        run(predict(Case(case.name, case.images, case.geometry, modality="ultrasound"), model))
    with pytest.raises(ComputeError, match="not available"):
        pick_device("abacus")
