"""TSESNet: published counts, any number of phases and any size, and that every part takes part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import conv3d, leaky_relu

from napari_breastseg.errors import InputError
from napari_breastseg.losses.tsc_loss import occupied
from napari_breastseg.networks.tsesnet import COMPACT_WIDTHS, TA, TSESNet

TINY = (4, 4, 8, 8, 12)
# Parameters, and the paper's millions.
COUNTS: list[tuple[dict[str, Any], int, float]] = [
    ({"fusion": "mean"}, 97_805_025, 98.31),
    ({"fusion": "cnn"}, 99_901_121, 101.16),
    ({"fusion": "tsff-bottleneck"}, 98_592_993, 98.93),
    ({"shared": False}, 103_057_665, 103.58),
]


def count(**settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in TSESNet(**settings).parameters())


def tiny(**settings: Any) -> TSESNet:
    torch.manual_seed(0)
    return TSESNet(TINY, **{"ta": "split", **settings}).eval()


def examination(*minutes: float, size: tuple[int, ...] = (16, 32, 32), batch: int = 1) -> torch.Tensor:
    """Random phases at these times, each with its clock plane."""
    x = torch.randn(batch, 2 * len(minutes), *size, generator=torch.Generator().manual_seed(len(minutes)))
    for i, at in enumerate(minutes):
        x[:, 2 * i + 1] = at
    return x


@pytest.mark.parametrize(("settings", "parameters", "published"), COUNTS)
def test_parameter_count_is_the_published_one_within_1_5_percent(settings: dict[str, Any], parameters: int, published: float) -> None:
    assert count(**settings) == parameters
    assert parameters / 1e6 == pytest.approx(published, rel=0.015)


def test_weights_that_all_phases_share_are_a_fifth_of_those_of_five() -> None:
    mean, shared, own = count(fusion="mean"), count(), count(shared=False)
    assert shared == 98_855_553
    assert own - mean == 5 * (shared - mean)


def test_the_compact_one_is_small() -> None:
    assert count(widths=COMPACT_WIDTHS, ta="split", time_embedding=True) < 2_500_000


def test_levels_have_the_sizes_of_the_layer_table() -> None:
    with torch.no_grad():
        encoded = tiny().encode(examination(0, 1, size=(48, 96, 96)))
    sizes = [(24, 48, 48), (12, 24, 24), (6, 12, 12), (3, 6, 6), (3, 3, 3)]
    assert [tuple(e.shape) for e in encoded] == [(1, width, *size) for width, size in zip(TINY, sizes, strict=True)]


@pytest.mark.parametrize("fusion", ["tsff", "mean", "cnn"])
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 70, 33)])
def test_any_size_is_taken(size: tuple[int, int, int], fusion: Any) -> None:
    network, x = tiny(fusion=fusion), examination(0, 1, 3, size=size)
    with torch.no_grad():
        features, logits = network.features(network.encode(x), size)
        assert features.shape == (1, TINY[0], *size)
        assert logits.shape == (1, 2, *size)
        # Enlarging the logit is enlarging the features, and both classes are one logit.
        torch.testing.assert_close(network(x), logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], network.head(features)[:, 0])


@pytest.mark.parametrize("settings", [{}, {"fusion": "mean"}, {"fusion": "tsff-bottleneck"}, {"time_embedding": True}, {"tsff": "channel"}])
@pytest.mark.parametrize("phases", [1, 2, 9])
def test_any_number_of_phases_is_taken(phases: int, settings: dict[str, Any]) -> None:
    with torch.no_grad():
        assert tiny(**settings)(examination(*range(phases))).isfinite().all()


def test_slots_that_the_whole_batch_lacks_are_not_encoded() -> None:
    network, encoded = tiny(time_embedding=True), []
    network.encoder[0].register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    x = examination(0, 1, -1, 3, -1, batch=2)
    x[1, 3] = -1  # phase 1 of the second case
    with torch.no_grad():
        phases = network.phase_features(x)
        assert phases.slots == (0, 1, 3) and sum(encoded) == 3 * 2
        assert phases.available.tolist() == [[True, True, True], [True, False, True]]
        assert phases.minutes.tolist() == [[0, 1, 3], [0, -1, 3]]
        torch.testing.assert_close(network(x)[:1], network(x[:1, [0, 1, 2, 3, 6, 7]]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(x)[1:], network(x[1:, [0, 1, 6, 7]]), rtol=1e-4, atol=1e-5)


def test_the_first_phase_is_there_whatever_its_clock_says() -> None:
    with torch.no_grad():
        x = examination(-1, 2)
        phases = tiny().phase_features(x)
        assert phases.slots == (0, 1) and phases.minutes.tolist() == [[0, 2]]


def test_the_clock_is_read_inside_of_what_lies_beyond_the_examination() -> None:
    """Patches at the edge are filled with other values, in the clock planes, too."""
    x = examination(0, 2, -1)
    x[..., :3, :] = 7
    with torch.no_grad():
        assert tiny().phase_features(x).minutes.tolist() == [[0, 2]]


@pytest.mark.parametrize("settings", [{}, {"shared": False}, {"fusion": "cnn"}])
def test_phases_encoded_together_are_those_encoded_one_after_another(settings: dict[str, Any]) -> None:
    network, x = tiny(**settings), examination(0, 1, -1, 4, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(network.train()(x), network.eval()(x), rtol=1e-4, atol=1e-5)


def test_only_the_times_tell_the_order_of_the_phases() -> None:
    order = [0, 1, 4, 5, 2, 3]
    x = examination(0, 1, 4)
    swapped = x.clone()
    swapped[:, ::2] = x[:, order][:, ::2]
    with torch.no_grad():
        blind, seeing = tiny(), tiny(time_embedding=True)
        torch.testing.assert_close(blind(x), blind(swapped), rtol=1e-4, atol=1e-5)
        assert (seeing(x) - seeing(swapped)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(16, 32, 32), (24, 70, 16)])
def test_labels_are_laid_over_what_the_levels_cover(size: tuple[int, ...]) -> None:
    """A small patch is padded; its labels must not be stretched over the padding."""
    labels = torch.zeros(1, *size, dtype=torch.long)
    labels[:, 4:8, 8:12, 12:16] = 1
    with torch.no_grad():
        phases = tiny().phase_features(examination(0, size=size))
    for level, step in zip(phases.levels[:2], (2, 4), strict=True):
        tumour, background = occupied(phases.laid_over(labels), level.shape[3:])
        expected = torch.zeros_like(tumour)
        expected[:, 4 // step : 8 // step, 8 // step : 12 // step, 12 // step : 16 // step] = True
        assert torch.equal(tumour, expected)
        d, h, w = (n // step for n in size)
        assert background.sum() == d * h * w - expected.sum()


def test_without_ta_there_is_none() -> None:
    none, full = count(ta="none"), count()
    assert full - none == sum(sum(p.numel() for p in TA(c).parameters()) for c in (64, 128, 256, 512))


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network, x = tiny(time_embedding=True), examination(0, 1, 3, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]), rtol=1e-4, atol=1e-5)


def test_encoder_and_decoder_share_no_parameters() -> None:
    network = tiny()
    with torch.no_grad():
        encoded = network.encode(examination(0, 1))
    network.decode(encoded, (16, 32, 32)).sum().backward()
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {name for name, _ in network.decoder_parameters()}


@pytest.mark.parametrize("settings", [{"ta": "full", "time_embedding": True}, {"shared": False}, {"fusion": "cnn"}, {"tsff": "channel"}])
def test_every_parameter_receives_a_gradient(settings: dict[str, Any]) -> None:
    network = tiny(**settings).train()
    network(examination(*range(6))).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


def equations(module: TA, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Equations 1 to 4 of a TA, each with the statistics written out."""

    def scale(stage: nn.Module, x: torch.Tensor) -> torch.Tensor:
        convolution, norm = stage[0], stage[1]  # type: ignore[index]
        edge = convolution.weight.shape[-1]
        y = conv3d(x, convolution.weight, convolution.bias, padding=edge // 2)
        mean, variance = y.mean((2, 3, 4), keepdim=True), y.var((2, 3, 4), keepdim=True, unbiased=False)
        gain, offset = norm.weight[:, None, None, None], norm.bias[:, None, None, None]
        return leaky_relu((y - mean) / (variance + 1e-5).sqrt() * gain + offset, 0.01)

    f1, x2, x3, x4 = parts
    f2 = scale(module.scales[0], x2)
    f3 = scale(module.scales[1], x3 + f2)
    return [f1, f2, f3, scale(module.scales[2], x4 + f3)]


@pytest.mark.parametrize("split", [False, True])
def test_ta_is_its_equations(split: bool) -> None:
    torch.manual_seed(0)
    module, x = TA(4, split).double(), torch.randn(2, 4, 6, 5, 7, dtype=torch.float64)
    assert [stage[0].weight.shape[-1] for stage in module.scales] == [5, 3, 1]
    f = equations(module, list(x.split(1, 1)) if split else [x] * 4)
    first, _, second, _ = module.weigh
    g = torch.cat([part.mean((2, 3, 4)) for part in f], 1)
    w = torch.sigmoid((g @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias)[..., None, None, None]
    weighed = [part * own for part, own in zip(f, w.chunk(4, 1), strict=True)]
    torch.testing.assert_close(module(x), torch.cat(weighed, 1) if split else sum(weighed))


def test_variants_that_do_not_exist_are_refused() -> None:
    for settings in ({"fusion": "max"}, {"tsff": "spatial"}, {"ta": "half"}):
        with pytest.raises(InputError, match="no variant.*Choose from"):
            TSESNet(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"shared": False}, {"fusion": "cnn"}])
def test_weights_tied_to_slots_refuse_a_seventh_phase(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="built for 6 phases"):
        tiny(**settings)(examination(*range(7)))
