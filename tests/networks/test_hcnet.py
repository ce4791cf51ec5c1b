"""HCNet: HIPM's map reaches KIS-Net, and HIPM does not learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.networks.kis_net import KISNet
from napari_breastseg.networks.uxnet import UXNet3D

TINY: dict[str, Any] = {"widths": (4, 4, 8, 8, 8), "norm": "instance"}
HIPM = (4, 6, 8, 10)


def tiny(**settings: Any) -> HCNet:
    torch.manual_seed(0)
    return HCNet(**TINY, hipm_widths=HIPM, hipm_hidden=12, **settings).eval()


def test_parameters_are_those_of_its_two_networks() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in HCNet().parameters()) == 53_006_363 + 5_151_121


@pytest.mark.parametrize("labels", [11, 12])
def test_heterogeneity_is_the_probability_of_each_label(labels: int) -> None:
    network, x = tiny(labels=labels), torch.randn(2, 1, 17, 32, 20)
    h = network.heterogeneity(x)
    assert h.shape == (2, labels, 17, 32, 20) and h.dtype == torch.float32 and not h.requires_grad
    logits = network.hipm(x).detach().double()
    torch.testing.assert_close(h.double(), logits.exp() / logits.exp().sum(1, keepdim=True), rtol=1e-4, atol=1e-6)


def test_it_is_hipm_then_kis_net_with_the_same_names() -> None:
    network, x = tiny(), torch.randn(1, 1, 17, 32, 20)
    alone, hipm = KISNet(**TINY).eval(), UXNet3D(1, 11, HIPM, 12).eval()
    states = network.state_dict()
    alone.load_state_dict({name: value for name, value in states.items() if not name.startswith("hipm.")})
    hipm.load_state_dict({name.removeprefix("hipm."): value for name, value in states.items() if name.startswith("hipm.")})
    with torch.no_grad():
        torch.testing.assert_close(network(x), alone(torch.cat([x, hipm(x).softmax(1)], 1)))


def test_a_given_map_takes_the_place_of_the_predicted_one() -> None:
    network, x = tiny(), torch.randn(1, 1, 32, 32, 32)
    other = torch.randn(1, 11, 32, 32, 32).softmax(1)
    with torch.no_grad():
        own, given = network.encode(x), network.encode_with(x, other)
        torch.testing.assert_close(network.encode_with(x, network.heterogeneity(x)), own)
    assert not torch.allclose(own[0], given[0])


def test_training_leaves_hipm_as_it_is() -> None:
    network = tiny(hint_dropout=0.0).train()
    assert network.training and not any(module.training for module in network.hipm.modules())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), 0.1, weight_decay=0.1)
    network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
    optimiser.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in network.named_parameters() if not name.startswith("hipm.")}


def test_only_decoder_and_head_learn_from_corrections() -> None:
    assert {name.split(".")[0] for name, _ in tiny().decoder_parameters()} == {"decoder", "head"}
    assert HCNet.decoding[-1] == "head"
