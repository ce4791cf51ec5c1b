"""The peers predict whole volumes as their makers do: the windows add up, the networks are those that were published."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.evaluation.benchmarks.inference.peers import (
    Volume,
    VolumePredictor,
    monai_sliding,
    nnunet_network,
    nnunet_predictor,
    segresnet,
)

PATCH = (64, 64, 64)
# nnU-Net weights and sums in half precision: where a window's corner is alone, its weight is 6e-8 and its logits are rounded to units.
CORE = (slice(16, 48),) * 3


def volume(*shape: int) -> Volume:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def whole(network: nn.Module, channels: Volume) -> Volume:
    """Probability of class 1 from one forward of the volume, written otherwise than in the module."""
    with torch.no_grad():
        logits: Tensor = network(torch.from_numpy(channels)[None])
        probability: Volume = logits.softmax(1)[0, 1].numpy()
    return probability


def seeded_nnunet(mirror: bool = False) -> VolumePredictor:
    torch.manual_seed(0)
    return nnunet_predictor(2, PATCH, mirror)


@pytest.mark.parametrize(("patch", "overlap", "batch"), [((8, 8, 8), 0.5, 1), ((16, 8, 12), 0.25, 3), ((32, 32, 32), 0.5, 2)])
def test_windows_of_a_voxelwise_network_give_what_it_gives_the_whole_volume(patch: tuple[int, ...], overlap: float, batch: int) -> None:
    torch.manual_seed(0)
    network = nn.Conv3d(2, 2, 1)
    channels = volume(2, 11, 19, 23)
    probability = monai_sliding(network, patch, overlap, batch)(channels)
    assert probability.dtype == np.float32 and probability.flags.c_contiguous
    np.testing.assert_allclose(probability, whole(network, channels), atol=1e-5)


def test_segresnet_is_the_published_one() -> None:
    network = segresnet(4)
    assert not network.training
    # The four channels and three classes of MONAI's BraTS bundle, 4.7 M; a class is 16 weights and a bias.
    assert sum(p.numel() for p in network.parameters()) + 17 == 4_702_227
    channels = volume(4, 13, 17, 9)
    probability = monai_sliding(network, (16, 16, 16))(channels)
    assert probability.shape == channels.shape[1:]
    assert 0 <= probability.min() < probability.max() <= 1


def test_without_nnunet_one_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2.utilities.get_network_from_plans", None)
    with pytest.raises(ComputeError, match="Run: pip install nnunetv2"):
        nnunet_predictor(2, PATCH)


def test_one_window_of_nnunet_is_one_forward_of_its_network(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nnunetv2")
    predict = seeded_nnunet()
    torch.manual_seed(0)
    network = nnunet_network(2)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(31e6, rel=0.02)
    channels = volume(2, *PATCH)
    probability = predict(channels)
    np.testing.assert_allclose(probability[CORE], whole(network, channels)[CORE], atol=2e-3)
    assert probability.std() > 0.02
    assert capsys.readouterr().out == ""  # the command line prints one JSON object there, and nothing else


@pytest.mark.slow
def test_nnunet_takes_any_size() -> None:
    pytest.importorskip("nnunetv2")
    channels = volume(2, 37, 71, 64)
    probability = seeded_nnunet()(channels)
    assert probability.dtype == np.float32 and probability.shape == channels.shape[1:]
    assert 0 <= probability.min() < probability.max() <= 1


@pytest.mark.slow
def test_mirroring_makes_nnunet_blind_to_left_and_right() -> None:
    pytest.importorskip("nnunetv2")
    channels = volume(2, *PATCH)
    mirrored = np.ascontiguousarray(channels[..., ::-1])
    plain, averaging = seeded_nnunet(), seeded_nnunet(mirror=True)
    np.testing.assert_allclose(averaging(mirrored)[..., ::-1][CORE], averaging(channels)[CORE], atol=4e-3)
    assert np.abs(plain(mirrored)[..., ::-1][CORE] - plain(channels)[CORE]).max() > 0.1
