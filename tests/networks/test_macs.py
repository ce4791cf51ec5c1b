"""Multiply-adds by part: the published figures, and torch's own counter on the modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from napari_breastseg.networks.hcma_unet import HCMAUNet
from napari_breastseg.networks.macs import SCAN, hcma_unet_macs
from napari_breastseg.networks.mixers import Mixer

# In 10^9: counted independently from the authors' code.
PUBLISHED = {
    "stem": 0.476, "residual, widen": 8.053, "residual, grouped": 1.302, "residual, narrow": 1.476, "view block, linear": 0.381,
    "view block, depthwise": 0.027, "view block, scan projections": 0.801, "scan": 3.473, "slice attention, linear": 0.830,
    "slice attention, products": 1.258, "fusion": 0.738, "dense": 15.090, "decoder, pointwise": 1.476, "decoder, transposed": 4.027,
    "head": 0.134,
}  # fmt: skip


def test_parts_are_the_published_ones() -> None:
    count = hcma_unet_macs()
    assert {name: round(value / 1e9, 3) for name, value in count.items()} == pytest.approx(PUBLISHED, abs=6e-4)
    assert round(sum(value for name, value in count.items() if name != SCAN) / 1e9, 2) == 36.07


def test_counting_transposed_convolutions_over_their_output_explains_the_paper() -> None:
    """26.3 GMAC more, which with bias, norm and activation makes 63.22, half of 126.44."""
    size, more = 32, 0.0
    network = HCMAUNet(patch=size)

    def count(module: nn.ConvTranspose3d, given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        nonlocal more
        more += module.weight.numel() * (made[0, 0].numel() - given[0][0, 0].numel())

    for module in network.modules():
        if isinstance(module, nn.ConvTranspose3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.features(network.encode(torch.zeros(1, 1, size, size, size)), (size,) * 3)
    more *= (128 // size) ** 3
    assert round(more / 1e9, 1) == 26.3
    counted = (more + sum(value for name, value in hcma_unet_macs().items() if name != SCAN)) / 1e9
    assert counted < 126.44 / 2 < counted + 1


@pytest.mark.parametrize("mixer", ["none", "vssb", "vssb+asc", "vssb+asa", "full", "mamba3d"])
def test_torchs_counter_agrees_module_by_module(mixer: Mixer) -> None:
    size = 32
    count = hcma_unet_macs(mixer, size=size)
    network = HCMAUNet(mixer=mixer, patch=size).eval()

    def measured(module: nn.Module, *shape: int) -> float:
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused attention of CPUs escapes the counter
            module(torch.zeros(1, *shape))
        return counter.get_total_flops() / 2

    edge, expected_mix, expected_projections, expected_rest = size, 0.0, 0, measured(network.stem, 1, size, size, size)
    for stage, (channels, stride) in zip(network.encoder, ((32, 2), (64, 2), (128, 2), (256, 1)), strict=True):
        expected_rest += measured(stage.reduce, channels, edge, edge, edge)
        edge //= stride
        expected_mix += measured(stage.mix, channels, edge, edge, edge)
        # torch cannot see into the scan's operator; each voxel goes once through each weight of its projections.
        weights = [p.numel() for name, p in stage.mix.named_parameters() if name.endswith(("project_scan", "project_dt"))]
        expected_projections += edge**3 * sum(weights)
        expected_rest += measured(stage.dense, channels, edge, edge, edge)
    mix = sum(value for name, value in count.items() if name.startswith(("view block, l", "view block, d", "slice", "fusion")))
    assert mix == expected_mix
    assert count["view block, scan projections"] == expected_projections
    assert sum(count[name] for name in count if name.startswith(("stem", "residual", "dense"))) == expected_rest

    with torch.no_grad():
        encoded = network.encode(torch.zeros(1, 1, size, size, size))
        counter = FlopCounterMode(display=False)
        with counter:
            network.features(encoded, (size,) * 3)
    assert sum(count[name] for name in count if name.startswith(("decoder", "head"))) == counter.get_total_flops() / 2
