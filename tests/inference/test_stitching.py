"""Windows, stitched, are what one pass over the whole volume gives: for networks that see less than what a window's edge leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_breastseg.case import Case, Geometry
from napari_breastseg.inference import predict
from napari_breastseg.inference.grids import Grid
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.sweep import sweep
from napari_breastseg.inference.windows import Blending, Canvas, plan_windows
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.progress import run

Shape = tuple[int, int, int]


class Small(SegmentationNetwork):
    """Two layers that see so many voxels along each axis."""

    decoding = ("head",)

    def __init__(self, sees: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        kernel = (sees + 1) // 2
        self.body = nn.Sequential(
            nn.Conv3d(2, 4, kernel, padding=kernel // 2), nn.LeakyReLU(), nn.Conv3d(4, 4, kernel, padding=kernel // 2)
        )
        self.head = nn.Conv3d(4, 2, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        return [self.body(x)]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return self.head(encoded[0])

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        return encoded[0], self.head(encoded[0])


def model_of(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(Model, "network", lambda self, device="cpu": network.eval())
    return Model(get_preset("hcma-unet/practical"), {}, {"preset": "hcma-unet/practical"}, "0" * 64, Path("none"))


def whole_forward(network: nn.Module, channels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logits = network(torch.from_numpy(channels)[None])[0]
    return torch.sigmoid(logits[1] - logits[0]).numpy()


@pytest.mark.parametrize("shape", [(31, 64, 105), (45, 86, 65), (1, 100, 87)])
@pytest.mark.parametrize(("sees", "overlap"), [(1, 0.0), (1, 0.1), *((5, overlap) for overlap in (0.15, 0.25, 0.5, 0.75))])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("blending", ["gaussian", "linear"])
def test_windows_equal_one_pass(
    shape: Shape, sees: int, overlap: float, batch: int, blending: Blending, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Small(sees)
    channels = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    windows = plan_windows(shape, (40, 40, 40), overlap)
    assert len(windows) > 3
    grid, canvas = Grid(((0, shape[0]), (0, shape[1]), (0, shape[2])), channels, windows), Canvas(shape, windows, blending)
    runner = Runner(model_of(network, monkeypatch), "cpu", batch)
    batches = [len(done) for done in sweep(runner, [(grid, canvas, window) for window in windows])]
    assert max(batches) == batch and sum(batches) == len(windows)
    np.testing.assert_allclose(canvas.mean(), whole_forward(network, channels), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_prediction_equals_one_pass(batch: int, monkeypatch: pytest.MonkeyPatch, read_whole) -> None:  # type: ignore[no-untyped-def]
    """On the working grid nothing is resampled: the whole predictor, with its mirror images, must say what the network says."""
    images = np.random.default_rng(1).normal(200, 40, (2, 50, 131, 77)).astype(np.float32)
    case = Case("noise", images, Geometry((1.5, 1.5, 1.5), np.diag([-1.5, -1.5, 1.5, 1]), (77, 131, 50)))
    network = Small(5)
    prediction = run(predict(case, model_of(network, monkeypatch), device="cpu", region="full", batch=batch))
    np.testing.assert_allclose(prediction.probability, whole_forward(network, read_whole(case)), atol=1e-5)


def test_windows_of_different_sizes_do_not_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Small(1)
    rng = np.random.default_rng(1)
    works = []
    for shape in ((20, 30, 40), (20, 30, 41)):
        windows = plan_windows(shape, (20, 20, 20))
        grid = Grid(((0, 20), (0, 30), (0, shape[2])), rng.normal(size=(2, *shape)).astype(np.float32), windows)
        canvas = Canvas(shape, windows)
        works += [(grid, canvas, window) for window in windows]
    for _ in sweep(Runner(model_of(network, monkeypatch), "cpu", 4), works):
        pass
    for grid, canvas, _ in works[:1] + works[-1:]:
        np.testing.assert_allclose(canvas.mean(), whole_forward(network, grid.channels), atol=1e-5)
