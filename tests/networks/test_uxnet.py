"""3D UX-Net: published counts, the layer table, any size, and an encoder that begins as its down-samplers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv3d, gelu, pad

from napari_breastseg.networks.uxnet import ChannelNorm, UXBlock, UXNet3D


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def tiny() -> UXNet3D:
    torch.manual_seed(0)
    return UXNet3D(1, 3, (4, 6, 8, 10), 12).eval()


@pytest.mark.parametrize(("classes", "parameters"), [(14, 53_006_510), (11, 53_006_363)])
def test_parameter_count_is_the_published_one(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = UXNet3D(classes=classes)
    assert count(network) == parameters
    assert count(network.stages, network.norms) == 1_311_936


def test_levels_have_the_sizes_of_the_layer_table() -> None:
    with torch.device("meta"):
        encoded = UXNet3D().encode(torch.zeros(1, 1, 96, 96, 96))
    assert [tuple(e.shape[1:3]) for e in encoded] == [(48, 96), (96, 48), (192, 24), (384, 12), (768, 6)]


@pytest.mark.parametrize("size", [(32, 32, 32), (17, 40, 9)])
def test_any_size_is_taken(size: tuple[int, int, int]) -> None:
    network, x = tiny(), torch.randn(1, 1, *size)
    with torch.no_grad():
        features, logits = network.features(network.encode(x), size)
        assert features.shape == (1, 4, *size)
        assert logits.shape == (1, 3, *size)
        torch.testing.assert_close(network(x), logits)
        torch.testing.assert_close(network.head(features), logits)


def test_the_norm_is_over_the_channels_of_a_voxel() -> None:
    torch.manual_seed(0)
    norm, x = ChannelNorm(5).double(), torch.randn(2, 5, 2, 3, 4, dtype=torch.float64)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    vector = x[1, :, 1, 2, 3]
    expected = (vector - vector.mean()) / (vector.var(unbiased=False) + 1e-6).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(x)[1, :, 1, 2, 3], expected)


def test_channels_of_a_block_meet_in_its_norm_alone() -> None:
    """The widening is depthwise scaling, not ConvNeXt's dense layers."""
    torch.manual_seed(0)
    block, x = UXBlock(3).double(), torch.randn(1, 3, 8, 8, 8, dtype=torch.float64)
    nn.init.normal_(block.scale)
    deep, norm, widen, _, narrow = block.main
    normed = norm(torch.cat([conv3d(pad(x[:, c : c + 1], [3] * 6), deep.weight[c : c + 1]) + deep.bias[c] for c in range(3)], 1))
    for c in range(3):
        wide = [gelu(normed[:, c] * widen.weight[4 * c + i, 0] + widen.bias[4 * c + i]) for i in range(4)]
        own = sum(w * narrow.weight[c, i] for i, w in enumerate(wide)) + narrow.bias[c]
        torch.testing.assert_close(block(x)[:, c], x[:, c] + block.scale[c] * own)


def test_blocks_begin_as_next_to_nothing() -> None:
    block, x = UXBlock(4), torch.randn(1, 4, 8, 8, 8)
    with torch.no_grad():
        change = (block(x) - x).abs().max()
    assert 0 < change < 1e-5


def test_encoder_and_decoder_share_no_parameters() -> None:
    network = tiny()
    with torch.no_grad():
        encoded = network.encode(torch.randn(1, 1, 32, 32, 32))
    network.decode(encoded, (32, 32, 32)).sum().backward()
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {name for name, _ in network.decoder_parameters()}


def test_every_parameter_receives_a_gradient() -> None:
    network = tiny().train()
    network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
