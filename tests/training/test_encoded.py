"""Windows behind a frozen encoder: the same whether read back or not, recognised by its weights, and never too many."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model, save_model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.training.encoded import Encoder, Plain, encoder_of, probability, prune

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    torch.manual_seed(0)
    return get_preset("hcma-unet").build().eval()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 16, 24, 16)).astype(np.float32)


def test_what_is_read_back_is_what_was_encoded(network: SegmentationNetwork, image: np.ndarray, tmp_path: Path) -> None:
    encoder = Encoder(network, CPU, CPU, tmp_path)
    first = encoder(image)
    (path,) = tmp_path.glob("*.encoded")
    again = encoder(image)
    alone = Encoder(network, CPU, CPU)(image)
    for a, b, c in zip(first.features, again.features, alone.features, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    path.write_bytes(b"damaged")
    assert torch.equal(encoder(image).features[0], first.features[0])


def test_it_answers_as_the_whole_network_does(network: SegmentationNetwork, image: np.ndarray) -> None:
    whole = probability(Plain(image, CPU), network)
    np.testing.assert_allclose(probability(Encoder(network, CPU, CPU)(image), network), whole, atol=2e-3)  # half precision
    features, logits = Plain(image, CPU).outputs(network, with_features=True)
    assert features is not None and features.shape[2:] == logits.shape[2:] == image.shape[1:]


def test_an_encoder_is_known_by_its_weights(network: SegmentationNetwork) -> None:
    weights = dict(network.state_dict())
    own = encoder_of(weights, network)
    decoder = next(name for name, _ in network.decoder_parameters())
    assert encoder_of({**weights, decoder: weights[decoder] + 1}, network) == own
    first = next(name for name in weights if name.startswith("encoder"))
    assert encoder_of({**weights, first: weights[first] + 1}, network) != own
    blend = {name: torch.lerp(value, value, 0.3) for name, value in weights.items()}
    assert encoder_of(blend, network) == own, "-0 and +0 are the same number"


def test_the_windows_unused_for_longest_go_first(tmp_path: Path) -> None:
    for age in range(4):
        path = tmp_path / f"{age}.encoded"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    prune(tmp_path, 250)
    assert {path.name for path in tmp_path.iterdir()} == {"0.encoded", "1.encoded"}
    prune(tmp_path / "missing")


@pytest.mark.parametrize("name", ["ha-net/compact", "brems-net/compact"])
def test_an_encoder_is_known_though_its_norms_count_in_whole_numbers(name: str, tmp_path: Path) -> None:
    network = get_preset(name).build().eval()
    model = load_model(save_model(network.state_dict(), {"preset": name}, tmp_path))
    assert encoder_of(model.weights, network) == encoder_of(network.state_dict(), network)
