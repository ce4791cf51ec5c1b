"""Prediction-guided refinement: the published count, the equations, and nothing of its own before it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import expit

from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model
from napari_breastseg.networks.guided import GuidedNetwork, PredictionGuidedRefinement
from napari_breastseg.training.from_scratch import _fitting


def test_the_published_count() -> None:
    assert sum(p.numel() for p in PredictionGuidedRefinement(64).parameters()) == 37_067  # BReMS-Net's, 64 features of an image


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_is_the_equations(dimensions: int) -> None:
    torch.manual_seed(0)
    module = PredictionGuidedRefinement(2, dimensions).double().eval()  # type: ignore[arg-type]
    size = (5, 6, 7)[:dimensions]
    features, logits = torch.randn(1, 2, *size, dtype=torch.float64), torch.randn(1, 1, *size, dtype=torch.float64)

    def conv(image: np.ndarray, kernel: torch.Tensor) -> np.ndarray:
        return ndimage.correlate(image, kernel.detach().numpy(), mode="constant")

    gate = expit(conv(expit(logits[0, 0].numpy()), module.gate.weight[0, 0]) + module.gate.bias.item())
    gated = features[0].numpy() * gate
    convolution, norm = module.look[0], module.look[1]
    looked = [sum(conv(gated[i], convolution.weight[o, i]) for i in range(2)) for o in range(2)]
    normed = np.maximum(np.stack(looked) / np.sqrt(1 + norm.eps), 0)  # batch norm before training: mean 0, variance 1
    expected = np.tensordot(module.head.weight.detach().numpy().reshape(2), normed, 1) + module.head.bias.item()
    np.testing.assert_allclose(module(features, logits)[0, 0].detach().numpy(), expected, atol=1e-12)


def test_upon_a_trained_network_it_begins_as_nothing_and_can_learn() -> None:
    model = load_model("hcma-unet")
    preset = get_preset("hcma-unet+guided")
    network = preset.build()
    assert isinstance(network, GuidedNetwork) and preset.name == "hcma-unet/practical+guided"
    network.load_state_dict(_fitting(model, network))
    network.eval()
    x = torch.randn(1, 2, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), model.network()(x), atol=1e-4, rtol=1e-4)
    names = dict(network.decoder_parameters())
    assert any(name.startswith("base.decoder") for name in names) and not any("encoder" in name for name in names)
    before = network(x)
    optimiser = torch.optim.SGD(network.refinement.parameters(), 1.0)
    for _ in range(2):
        torch.nn.functional.cross_entropy(network(x), torch.ones(1, 16, 16, 16, dtype=torch.long)).backward()
        optimiser.step()
    assert (network(x) - before)[:, 1].mean() > 0
