"""HCMA-UNet: published counts, any input size, and that every part takes part."""

from __future__ import annotations

import pytest
import torch

from napari_breastseg.networks.hcma_unet import HCMAUNet
from napari_breastseg.networks.mixers import AxialAttention, Mixer

COUNTS: dict[Mixer, int] = {
    "none": 2_579_180,
    "vssb": 3_191_100,
    "vssb+asc": 2_763_372,
    "vssb+asa": 4_009_512,
    "full": 2_872_984,
    "mamba3d": 3_223_020,
}


@pytest.mark.parametrize("mixer", COUNTS)
def test_parameter_count_is_the_published_one(mixer: Mixer) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in HCMAUNet(mixer=mixer).parameters()) == COUNTS[mixer]


def test_part_counts_follow_the_layer_table() -> None:
    with torch.device("meta"):
        network = HCMAUNet()

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(network.stem) == 266
    assert [count(stage.reduce) for stage in network.encoder] == [8_032, 24_256, 81_280, 293_632]
    assert [count(stage.mix) for stage in network.encoder] == [8_259, 19_875, 59_459, 206_211]
    assert [count(stage.dense) for stage in network.encoder] == [21_632, 84_224, 332_288, 1_319_936]
    assert [count(up) for up in network.decoder] == [197_632, 164_352, 41_216, 10_368]


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 30, 9), (1, 24, 24)])
def test_any_size_is_taken(size: tuple[int, int, int]) -> None:
    network = HCMAUNet(in_channels=2).eval()
    features, logits = network.features(network.encode(torch.randn(1, 2, *size)), size)
    assert features.shape == (1, 32, *size)
    assert logits.shape == (1, 2, *size)


@pytest.mark.parametrize("training", [False, True])
def test_one_linear_map_gives_what_the_two_layers_give(training: bool) -> None:
    """The decoder multiplies its last two layers first; with dropout between them it must not."""
    torch.manual_seed(0)
    network, x = HCMAUNet(in_channels=2).train(training), torch.randn(1, 2, 16, 24, 16)
    torch.manual_seed(1)
    logits = network(x)
    torch.manual_seed(1)
    torch.testing.assert_close(logits, network.features(network.encode(x), x.shape[2:])[1], rtol=1e-4, atol=1e-4)


def test_encoder_and_decoder_share_no_parameters() -> None:
    network = HCMAUNet().eval()
    with torch.no_grad():
        encoded = network.encode(torch.randn(1, 1, 16, 16, 16))
    network.decode(encoded, (16, 16, 16)).sum().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in network.decoder_parameters()}


@pytest.mark.parametrize("mixer", COUNTS)
def test_every_parameter_receives_a_gradient(mixer: Mixer) -> None:
    torch.manual_seed(0)
    network = HCMAUNet(mixer=mixer, patch=16)
    network(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_position_embedding_is_exact_at_its_own_length(axis: int) -> None:
    torch.manual_seed(0)
    attention = AxialAttention(4, axis, 8)
    tokens = torch.randn(1, 8, 2, 3, 4)
    q, k = (f(tokens) + attention.position.T[:, None, None] for f in (attention.query, attention.key))
    weights = torch.einsum("bshwc,bthwc->bhwst", q, k) / 2
    expected = torch.einsum("bhwst,bthwc->bshwc", weights.softmax(-1), attention.value(tokens))
    got = attention(tokens.movedim(1, axis + 1), torch.zeros_like(tokens).movedim(1, axis + 1)).movedim(axis + 1, 1)
    torch.testing.assert_close(got, 0.5 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mixer", COUNTS)
def test_samples_of_a_batch_do_not_see_each_other(mixer: Mixer) -> None:
    torch.manual_seed(0)
    network, x = HCMAUNet(mixer=mixer).eval(), torch.randn(2, 1, 16, 24, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 24, 16), (17, 20, 9)])
def test_the_parts_together_give_what_the_network_gives(size: tuple[int, int, int]) -> None:
    network, x = HCMAUNet(in_channels=2).eval(), torch.randn(1, 2, *size)
    with torch.no_grad():
        torch.testing.assert_close(network.assemble(network.parts(), x), network(x))


def test_the_composed_entry_is_the_stem_and_the_first_block() -> None:
    network, x = HCMAUNet(in_channels=2).double(), torch.randn(1, 2, 16, 24, 16, dtype=torch.float64)
    torch.testing.assert_close(network.parts()[0](x), network.encoder[0].reduce(network.stem(x)))
