"""KIS-Net and its ResUNet: counts, KIFB's equations, any size, and maps that are withheld in training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

from napari_breastseg.errors import InputError
from napari_breastseg.networks import kis_net
from napari_breastseg.networks.kis_net import KIFB, WIDTHS, KISNet, Norm, ResUNet

TINY = (4, 4, 8, 8, 8)


def count(kind: type[ResUNet], **settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in kind(**settings).parameters())


def tiny(kind: type[ResUNet] = KISNet, **settings: Any) -> Any:
    torch.manual_seed(0)
    return kind(widths=TINY, norm="instance", **settings).eval()


def example(size: tuple[int, ...] = (32, 32, 32), batch: int = 1) -> Tensor:
    """An image and a map of 11 labels."""
    g = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(batch, 1, *size, generator=g), torch.randn(batch, 11, *size, generator=g).softmax(1)], 1)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_parameter_counts_with_and_without_kifb(norm: Norm) -> None:
    assert count(ResUNet, norm=norm) == 5_102_401
    assert count(KISNet, norm=norm) == 5_151_121
    wide = tuple(2 * width for width in WIDTHS)
    assert round(count(ResUNet, widths=wide, norm=norm) / 1e6, 2) == 20.40
    assert round(count(KISNet, widths=wide, norm=norm) / 1e6, 2) == 20.60


def test_levels_halve_down_to_a_sixteenth() -> None:
    with torch.device("meta"):
        encoded = KISNet().encode(torch.zeros(1, 12, 96, 96, 96))
    assert [tuple(e.shape[1:3]) for e in encoded] == [(16, 96), (32, 48), (64, 24), (128, 12), (256, 6)]


@pytest.mark.parametrize("size", [(32, 32, 32), (17, 40, 9)])
def test_any_size_is_taken(size: tuple[int, int, int]) -> None:
    network, x = tiny(), example(size)
    with torch.no_grad():
        features, logits = network.features(network.encode(x), size)
        assert features.shape == (1, 4, *size)
        torch.testing.assert_close(network(x), logits)
        # Both classes are one published logit.
        torch.testing.assert_close(logits[:, 1:] - logits[:, :1], network.head(features))


def test_every_level_reaches_the_logits() -> None:
    network = tiny()
    with torch.no_grad():
        encoded = network.encode(example())
        logits = network.decode(encoded, (32, 32, 32))
        for level in range(len(encoded)):
            without = [torch.zeros_like(e) if i == level else e for i, e in enumerate(encoded)]
            assert not torch.allclose(network.decode(without, (32, 32, 32)), logits)


def test_the_control_sees_before_and_after_contrast() -> None:
    network, x = tiny(ResUNet, in_channels=2), torch.randn(1, 2, 32, 32, 32)
    other = torch.cat([x[:, :1], torch.randn(1, 1, 32, 32, 32)], 1)
    with torch.no_grad():
        assert network(x).shape == (1, 2, 32, 32, 32)
        assert not torch.allclose(network(x), network(other))


def test_kifb_is_its_equations() -> None:
    torch.manual_seed(0)
    module = KIFB(11, 4, "batch").double().eval()  # batch norm before training: mean 0, variance 1
    image, h = torch.randn(1, 1, 5, 6, 7, dtype=torch.float64), torch.randn(1, 11, 5, 6, 7, dtype=torch.float64).softmax(1)

    def conv(x: Tensor, layer: Any) -> Tensor:
        return conv3d(x, layer.weight, layer.bias, padding=1)

    def conv_norm(x: Tensor, layer: Any) -> Tensor:
        assert layer.bias is None and layer.weight.shape[2:] == (3, 3, 3)
        return conv(x, layer) / (1 + 1e-5) ** 0.5

    first, second = module.image.main[0], module.image.main[3]
    mixed = module.image.shortcut.weight[:, 0, 0, 0, 0].view(4, 1, 1, 1) * image
    s = (conv_norm(conv_norm(image, first).clamp(min=0), second) + mixed).clamp(min=0)
    e = torch.einsum("blzyx,lc->bczyx", h, module.table.weight[:, :, 0, 0, 0].T)
    g = torch.sigmoid(conv(conv(e, module.gate[0]).clamp(min=0), module.gate[2]))
    both = conv_norm(torch.cat([s, g], 1), module.fuse[0]).clamp(min=0)
    torch.testing.assert_close(module(image, h), conv_norm(both, module.fuse[3]).clamp(min=0))


@pytest.mark.parametrize(("dropout", "same"), [(0.0, False), (1.0, True)])
def test_a_withheld_map_says_nothing(dropout: float, same: bool) -> None:
    """In training, that is; a prediction always sees the map."""
    network, x = tiny(hint_dropout=dropout), example()
    blank = torch.cat([x[:, :1], torch.full((1, 11, 32, 32, 32), 1 / 11)], 1)
    with torch.no_grad():
        assert not torch.allclose(network(x), network(blank))
        assert torch.allclose(network.train()(x), network(blank)) is same


def test_a_tenth_of_the_samples_is_withheld_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = tiny().train(), []
    monkeypatch.setattr(kis_net, "padded", lambda x, *_: x)
    monkeypatch.setattr(KIFB, "forward", lambda _, image, h: seen.append(h) or image)
    network.encoder = nn.ModuleList()
    torch.manual_seed(0)
    network.encode(example((1, 1, 2), batch=1000))
    withheld = (seen[0] == 1 / 11).flatten(1).all(1).float().mean()
    assert 0.07 < withheld < 0.13  # within three deviations


def test_a_map_with_other_labels_is_refused() -> None:
    with pytest.raises(InputError, match="has 12 labels.*built for 11"):
        tiny()(torch.zeros(1, 13, 32, 32, 32))
    with pytest.raises(InputError, match="Choose batch or instance"):
        ResUNet(norm="group")  # type: ignore[arg-type]


def test_encoder_and_decoder_share_no_parameters() -> None:
    network = tiny()
    with torch.no_grad():
        encoded = network.encode(example())
    network.decode(encoded, (32, 32, 32)).sum().backward()
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {name for name, _ in network.decoder_parameters()}


def test_every_parameter_receives_a_gradient() -> None:
    network = tiny(hint_dropout=0.0).train()
    network(example()).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network, x = tiny(), example(batch=2)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]), rtol=1e-4, atol=1e-5)
