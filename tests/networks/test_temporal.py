"""The fusions of phases against their equations written out voxel by voxel, and what missing phases and times mean to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.errors import InputError
from napari_breastseg.networks.temporal import TSFF, Attention, ConcatFusion, MeanFusion, TimeEmbedding

SLOTS = (0, 1, 2, 3)
C = 3


def example(phases: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Two cases of `phases` phases, of which the second lacks phase 2."""
    z = torch.randn(2, phases, C, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    minutes = torch.tensor([0.0, 1.5, 3.0, 4.5])[:phases].repeat(2, 1)
    if phases > 2:
        minutes[1, 2] = -1
    return z, minutes


def tsff(**settings: Any) -> TSFF:
    torch.manual_seed(1)
    return TSFF(C, **settings).double()


def linear(layer: torch.nn.Module, vector: np.ndarray) -> np.ndarray:
    """A 1 x 1 x 1 convolution at one voxel, or at many: (channel, ...)."""
    weight, bias = (p.detach().numpy() for p in layer.parameters())
    return np.tensordot(weight[:, :, 0, 0, 0], vector, 1) + bias.reshape(-1, *[1] * (vector.ndim - 1))


def written_out(module: TSFF, z: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """f_0 + sum_i softmax_i(<W_q f_0, W_k f_i> / sqrt(c)) W_v f_i, one voxel at a time, with the W of each phase."""
    out = z[:, 0].copy()
    for b, *voxel in np.ndindex(z.shape[0], *z.shape[3:]):
        vectors = z[(b, slice(None), slice(None), *voxel)]
        there = [i for i in range(1, len(vectors)) if minutes[b, i] >= 0]
        w = {i: i - 1 if module.own else 0 for i in there}
        scores = [linear(module.query[w[i]], vectors[0]) @ linear(module.key[w[i]], vectors[i]) / np.sqrt(C) for i in there]
        shares = np.exp(scores) / np.exp(scores).sum()
        for share, i in zip(shares, there, strict=True):
            out[(b, slice(None), *voxel)] += share * linear(module.value[w[i]], vectors[i])
    return out


@pytest.mark.parametrize("own", [0, 3])
def test_tsff_is_attention_of_each_voxel_to_its_own_phases(own: int) -> None:
    module, (z, minutes) = tsff(own=own), example()
    # The shares are computed in fp32.
    np.testing.assert_allclose(module(z, minutes, SLOTS).detach(), written_out(module, z.numpy(), minutes.numpy()), rtol=1e-5, atol=1e-6)


def test_the_channel_map_is_the_softmax_of_cosines() -> None:
    module, (z, minutes) = tsff(attention="channel"), example()
    expected = z[:, 0].numpy().copy()
    for b in range(2):
        there = [i for i in range(1, 4) if minutes[b, i] >= 0]
        for i in there:
            q, k = linear(module.query[0], z[b, 0].numpy()).reshape(C, -1), linear(module.key[0], z[b, i].numpy()).reshape(C, -1)
            cosines = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (k / np.linalg.norm(k, axis=1, keepdims=True)).T
            share = np.exp(cosines) / np.exp(cosines).sum(1, keepdims=True)
            expected[b] += np.tensordot(share, linear(module.value[0], z[b, i].numpy()), 1) / len(there)
    np.testing.assert_allclose(module(z, minutes, SLOTS).detach(), expected, rtol=1e-5, atol=1e-6)


def test_as_printed_query_and_key_say_nothing() -> None:
    """Both from f_0, the scores of all phases are equal: what is left is the mean."""
    module, (z, minutes) = tsff(attention="literal"), example()
    values = np.stack([linear(module.value[0], f) for f in z[0, 1:].numpy()])
    expected = z[0, 0].numpy() + values.mean(0)
    np.testing.assert_allclose(module(z, minutes, SLOTS)[0].detach(), expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        module.query[0].weight.mul_(100)
    np.testing.assert_allclose(module(z, minutes, SLOTS)[0].detach(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", ["temporal", "literal", "channel"])
def test_without_a_phase_after_contrast_f0_is_left_as_it_is(attention: Attention) -> None:
    z, minutes = example()
    module = tsff(attention=attention, time=True)
    assert torch.equal(module(z[:, :1], minutes[:, :1], (0,)), z[:, 0])
    minutes[1, 1:] = -1  # one case of the batch has none
    fused = module(z, minutes, SLOTS)
    assert torch.equal(fused[1], z[1, 0]) and not torch.equal(fused[0], z[0, 0])
    fused.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("module", [MeanFusion(), ConcatFusion(C, 4).double(), tsff(), tsff(attention="channel"), tsff(own=3, time=True)])
def test_what_stands_in_a_missing_slot_changes_nothing(module: torch.nn.Module) -> None:
    z, minutes = example()
    other = z.clone()
    other[1, 2] = 50.0
    torch.testing.assert_close(module(z, minutes, SLOTS), module(other, minutes, SLOTS))
    here = [0, 1, 3]
    torch.testing.assert_close(module(z, minutes, SLOTS)[1:], module(z[1:, here], minutes[1:, here], (0, 1, 3)))


def test_the_mean_is_over_the_phases_that_there_are() -> None:
    z, minutes = example()
    expected = np.stack([z[0].numpy().mean(0), z[1, [0, 1, 3]].numpy().mean(0)])
    np.testing.assert_allclose(MeanFusion()(z, minutes, SLOTS), expected, rtol=1e-6)


def test_side_by_side_is_a_linear_layer_of_each_slot() -> None:
    z, minutes = example()
    module = ConcatFusion(C, 4).double()
    weight, bias = module.reduce.weight.detach().numpy()[:, :, 0, 0, 0], module.reduce.bias.detach().numpy()
    expected = sum(np.tensordot(weight[:, 3 * i : 3 * i + 3], z[1, i].numpy(), 1) for i in (0, 1, 3)) + bias[:, None, None, None]
    np.testing.assert_allclose(module(z, minutes, SLOTS)[1].detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("module", [ConcatFusion(C, 3).double(), tsff(own=2)])
def test_more_phases_than_there_are_weights_for_are_refused(module: torch.nn.Module) -> None:
    z, minutes = example()
    with pytest.raises(InputError, match="built for 3 phases.*got 4.*Leave phases out"):
        module(z, minutes, SLOTS)


def test_only_the_times_tell_a_curve_from_the_same_values_in_another_order() -> None:
    """Washing out and rising on are the same set of values."""
    z, minutes = example()
    z, minutes, order = z[:1], minutes[:1], [0, 3, 1, 2]
    blind, seeing = tsff(), tsff(time=True)
    torch.testing.assert_close(blind(z, minutes, SLOTS), blind(z[:, order], minutes, SLOTS))
    change = (seeing(z, minutes, SLOTS) - seeing(z[:, order], minutes, SLOTS)).abs().max()
    assert change > 0.01
    torch.testing.assert_close(seeing(z, minutes, SLOTS), seeing(z[:, order], minutes[:, order], SLOTS))


def test_times_of_real_examinations_stand_for_different_vectors_of_the_size_of_features() -> None:
    torch.manual_seed(0)
    module, minutes = TimeEmbedding(512), torch.arange(0.0, 10.0, 0.5)
    vectors = module(torch.zeros(1, 20, 512, 1, 1, 1), minutes[None])[0, :, :, 0, 0, 0].detach()
    assert vectors.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)
    apart = torch.cdist(vectors, vectors) / 512**0.5
    assert apart.fill_diagonal_(1).min() > 0.2


def test_shares_are_computed_in_single_precision() -> None:
    """Scores of some hundreds, 1.7 apart, are whole numbers in bfloat16."""
    module = TSFF(2).bfloat16()
    with torch.no_grad():
        for layer, channel in ((module.query[0], 0), (module.key[0], 0), (module.value[0], 1)):
            layer.bias.zero_()
            layer.weight.zero_()
            layer.weight[channel, channel] = 1
    z = torch.tensor([[19.0, 0.0], [19.0, 1.0], [18.875, 0.0]]).bfloat16().view(1, 3, 2, 1, 1, 1)
    share = module(z, torch.tensor([[0.0, 1.0, 2.0]]), (0, 1, 2))[0, 1].item()
    assert share == pytest.approx(1 / (1 + np.exp(-19 * 0.125 / np.sqrt(2))), abs=0.005)
