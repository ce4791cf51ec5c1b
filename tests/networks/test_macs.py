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
    """8 times as much at stride 2, as much at stride 1: 26.3 GMAC more, which with bias, norm and activation makes 63.2, twice 126.44."""
    strided = sum(edge**3 * high * high * 8 for edge, high in ((16, 128), (32, 64), (64, 32)))
    assert round(7 * strided / 1e9, 1) == 26.3


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

    edge, expected_mix, expected_rest = size, 0.0, measured(network.stem, 1, size, size, size)
    for stage, (channels, stride) in zip(network.encoder, ((32, 2), (64, 2), (128, 2), (256, 1)), strict=True):
        expected_rest += measured(stage.reduce, channels, edge, edge, edge)
        edge //= stride
        expected_mix += measured(stage.mix, channels, edge, edge, edge)
        expected_rest += measured(stage.dense, channels, edge, edge, edge)
    mix = sum(value for name, value in count.items() if name.startswith(("view block, l", "view block, d", "slice", "fusion")))
    assert mix == expected_mix
    assert sum(count[name] for name in count if name.startswith(("stem", "residual", "dense"))) == expected_rest
