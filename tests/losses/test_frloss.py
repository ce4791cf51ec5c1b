"""FRLoss against the equations written out voxel by voxel, and in every degenerate case."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet
from scipy import ndimage

from napari_breastseg.errors import InputError
from napari_breastseg.losses.frloss import TERMS, FRLoss, dilate


def slow_frloss(features: torch.Tensor, labels: torch.Tensor, settings: FRLoss) -> torch.Tensor:
    """Equations 3 to 9 one voxel at a time, with lists, branches and scipy's dilation."""
    voxels = list(itertools.product(*(range(n) for n in labels.shape)))
    vectors = {v: features[(v[0], slice(None), *v[1:])] for v in voxels}
    positive = [v for v in voxels if labels[v] == 1]
    negative = [v for v in voxels if labels[v] == 0]
    if not positive:
        return features.sum() * 0
    centre = sum((vectors[v] for v in positive), torch.zeros_like(vectors[positive[0]])) / len(positive)
    s = {v: torch.dot(vectors[v], centre) / (vectors[v].norm() * centre.norm()) for v in voxels}

    def near(chosen: list[tuple[int, ...]], times: int) -> list[tuple[int, ...]]:
        mask = np.zeros(labels.shape, bool)
        for v in chosen:
            mask[v] = True
        box = np.ones((1, *(3,) * (labels.ndim - 1)))
        grown = ndimage.binary_dilation(mask, box, iterations=times) if times else mask
        return [v for v in negative if grown[v]]

    def mean(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(values).mean() if values else features.sum() * 0

    hardest = sorted(negative, key=lambda v: -s[v].item())[: settings.hardest]
    parts = {
        "pos": mean([1 - s[v] for v in positive]),
        "boundary": mean([s[v].clamp(min=0) for v in near(positive, settings.boundary_reach)]),
        "neg": mean([s[v].clamp(min=0) for v in near(hardest, settings.negative_reach)]),
    }
    return settings.weight * sum((parts[term] for term in settings.terms), features.sum() * 0)


def example(shape: tuple[int, ...] = (2, 6, 7, 5), channels: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(len(shape))
    features = torch.randn(shape[0], channels, *shape[1:], generator=g, dtype=torch.float64) + 0.3
    labels = (torch.rand(shape, generator=g) > 0.9).long()
    labels[torch.rand(shape, generator=g) > 0.95] = 255
    return features.requires_grad_(), labels


ROWS = [terms for n in range(4) for terms in itertools.combinations(TERMS, n)]


@pytest.mark.parametrize("shape", [(2, 6, 7, 5), (1, 3, 9, 4), (2, 9, 8)])
@pytest.mark.parametrize("terms", ROWS)
def test_value_and_gradient_are_those_of_the_equations(terms: tuple[str, ...], shape: tuple[int, ...]) -> None:
    features, labels = example(shape)
    settings = FRLoss(terms, boundary_reach=1, negative_reach=2, hardest=3, weight=5.0)  # type: ignore[arg-type]
    fast, slow = settings(features, labels), slow_frloss(features, labels, settings)
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-9)
    expected = torch.autograd.grad(slow, features)[0]
    got = torch.autograd.grad(fast, features)[0]
    assert (got - expected).abs().max() <= 1e-5 * max(float(expected.abs().max()), 1e-5)


def test_pooling_by_sample_is_the_mean_over_samples() -> None:
    features, labels = example()
    batch, sample = (FRLoss(boundary_reach=1, negative_reach=1, hardest=4, pooling=p) for p in ("batch", "sample"))  # type: ignore[arg-type]
    alone = torch.stack([batch(features[i : i + 1], labels[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(sample(features, labels), alone.mean())
    assert not torch.isclose(sample(features, labels), batch(features, labels))


@pytest.mark.parametrize(
    ("case", "fill", "labels"),
    [
        ("no foreground", 1.0, torch.zeros(1, 4, 4, 4).long()),
        ("no negatives", 1.0, torch.ones(1, 4, 4, 4).long()),
        ("nothing decided", 1.0, torch.full((1, 4, 4, 4), 255)),
        ("zero features", 0.0, torch.arange(64).view(1, 4, 4, 4) % 2),
    ],
)
def test_degenerate_batches_give_zero_or_finite_terms_and_gradients(case: str, fill: float, labels: torch.Tensor) -> None:
    features = torch.full((1, 3, 4, 4, 4), fill, requires_grad=True)
    loss = FRLoss()(features, labels)
    loss.backward()
    assert torch.isfinite(loss) and features.grad is not None and torch.isfinite(features.grad).all()
    # Equal vectors are at cosine 1 with their mean: only the zero vectors, whose cosine is 0, have anything to pay, in L_pos.
    assert float(loss) == pytest.approx(5.0 if case == "zero features" else 0.0, abs=1e-5)
    if case != "no negatives":
        assert not features.grad.any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"terms": ("possitive",)}, "Choose from pos, boundary, neg"),
        ({"terms": "boundary"}, "Choose from pos, boundary, neg"),
        ({"pooling": "samples"}, "Choose batch or sample"),
        ({"boundary_reach": -1}, "cannot be negative"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FRLoss(**settings)


def test_fewer_negatives_than_n_are_all_chosen() -> None:
    features, labels = example()
    labels[labels == 0] = 255
    labels[0, 0, 0, :3] = 0
    few = FRLoss(("neg",), negative_reach=0, hardest=1000)
    torch.testing.assert_close(few(features, labels), slow_frloss(features, labels, few))


def test_ignored_voxels_change_nothing() -> None:
    features, labels = example()
    other = features.detach().clone()
    other.movedim(1, -1)[labels == 255] = 7.0
    torch.testing.assert_close(FRLoss()(features, labels), FRLoss()(other, labels))


def test_half_precision_features_do_not_overflow() -> None:
    """A sum of squares overflows float16 as soon as a feature exceeds 256."""
    features, labels = example()
    large = (features.detach() * 300).half().requires_grad_()
    loss = FRLoss()(large, labels)
    loss.backward()
    assert torch.isfinite(loss) and large.grad is not None and torch.isfinite(large.grad).all()
    torch.testing.assert_close(loss, FRLoss()(large.detach().double(), labels).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reach", [0, 1, 3, 10, 50])
def test_dilation_is_scipys(reach: int) -> None:
    mask = torch.rand(2, 9, 12, 7, generator=torch.Generator().manual_seed(0)) > 0.99
    mask[1] = False
    expected = [ndimage.binary_dilation(m, np.ones((3, 3, 3)), iterations=reach) if reach else m for m in mask.numpy()]
    assert (dilate(mask, reach).numpy() == np.stack(expected)).all()


def test_it_trains_a_monai_network() -> None:
    """Any network whose last features can be had: here the input of BasicUNet's last convolution."""
    torch.manual_seed(0)
    network = BasicUNet(spatial_dims=3, in_channels=1, out_channels=2, features=(8, 8, 8, 8, 8, 8))
    caught: list[torch.Tensor] = []
    network.final_conv.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    image = torch.randn(1, 1, 32, 32, 32)
    labels = (image[:, 0] > 1.5).long()
    settings = FRLoss(boundary_reach=1, negative_reach=1, hardest=50)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    values = []
    for _ in range(8):
        optimiser.zero_grad()
        caught.clear()
        network(image)
        loss = settings(caught[0], labels)
        loss.backward()
        optimiser.step()
        values.append(float(loss))
    assert values[-1] < 0.8 * values[0]
