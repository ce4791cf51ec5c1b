"""TSCLoss against all pairs written out one by one, its sampling, and every degenerate case."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_breastseg.errors import InputError
from napari_breastseg.losses.tsc_loss import TSCLoss, occupied

ALL = {"anchors": 10_000, "positives": 10_000}
HALF, QUARTER = (2, 4, 4), (1, 2, 2)


def example(phases: int = 3) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Two levels of features of two cases, of which the second lacks a phase, and labels of 4 x 8 x 8 voxels."""
    g = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, phases, c, *size, generator=g, dtype=torch.float64) for c, size in ((3, HALF), (5, QUARTER))]
    labels = torch.zeros(2, 4, 8, 8, dtype=torch.long)
    labels[0, :3, 1:5, 2:7] = 1
    labels[1, 1, 2:4, 2:4] = 1
    labels[1, 3, 7] = 255
    available = torch.ones(2, phases, dtype=torch.bool)
    available[1, -1] = False
    return [level.requires_grad_() for level in levels], labels, available


def cells(labels: np.ndarray, size: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Which cells of the coarser grid are tumour and which background, counted one by one."""
    step = [n // m for n, m in zip(labels.shape, size, strict=True)]
    share, tumour, background = {}, [], []
    for cell in np.ndindex(size):
        block = labels[tuple(slice(c * s, c * s + s) for c, s in zip(cell, step, strict=True))]
        share[cell] = float((block == 1).mean())
        if (block == 0).all():
            background.append(cell)
    tumour = [cell for cell in share if share[cell] >= 0.5]
    if not tumour and max(share.values()) > 0:
        tumour = [max(share, key=lambda cell: share[cell])]
    return tumour, background


def case_of_all_pairs(z: np.ndarray, labels: np.ndarray, tau: float) -> float | None:
    """Eq. 6 for every anchor and positive of one case at one level, z of shape (phase, channel, d, h, w)."""
    tumour, background = cells(labels, z.shape[2:])
    if not tumour or not background:
        return None
    phases = range(len(z))
    unit = {(i, v): z[(i, slice(None), *v)] / np.linalg.norm(z[(i, slice(None), *v)]) for i in phases for v in [*tumour, *background]}
    means = []
    for own, other in ((tumour, background), (background, tumour)):
        costs = []
        for i, v in itertools.product(phases, own):
            against = sum(math.exp(unit[i, v] @ unit[i, w] / tau) for w in other)
            positives = [(i, w) for w in own if w != v] + [(j, v) for j in phases if j != i]
            for positive in positives:
                alike = math.exp(unit[i, v] @ unit[positive] / tau)
                costs.append(-math.log(alike / (alike + against)))
        if costs:
            means.append(float(np.mean(costs)))
    return float(np.mean(means)) if means else None


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("phases", [1, 2, 3])
def test_with_all_voxels_sampled_it_is_the_equation_of_all_pairs(phases: int, tau: float) -> None:
    levels, labels, available = example(phases + 1)
    expected = []
    for z in levels:
        found = [case_of_all_pairs(z[b, available[b]].detach().numpy(), labels[b].numpy(), tau) for b in range(2)]
        expected += [np.mean([value for value in found if value is not None])] if any(value is not None for value in found) else []
    loss = TSCLoss(tau, **ALL)(levels, labels, available)
    assert loss.item() == pytest.approx(float(np.mean(expected)), rel=1e-9)


def test_cells_are_tumour_from_half_on_and_background_only_if_all_of_it_is() -> None:
    _, labels, _ = example()
    for size in (HALF, QUARTER, (4, 8, 8)):
        masks = occupied(labels, size)
        for b in range(2):
            for mask, expected in zip(masks, cells(labels[b].numpy(), size), strict=True):
                assert sorted(map(tuple, mask[b].nonzero().tolist())) == sorted(expected)


def test_a_tumour_of_one_voxel_is_the_cell_that_holds_it() -> None:
    labels = torch.zeros(1, 32, 32, 32, dtype=torch.long)
    labels[0, 17, 3, 30] = 1
    tumour, background = occupied(labels, (2, 1, 2))
    assert tumour.nonzero().tolist() == [[0, 1, 0, 1]] and background.sum() == 3


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_without_both_classes_it_is_zero_and_keeps_the_graph(fill: int) -> None:
    levels, labels, available = example()
    loss = TSCLoss()(levels, torch.full_like(labels, fill), available)
    loss.backward()
    assert loss.item() == 0 and all(level.grad is not None and not level.grad.any() for level in levels)


def test_cases_and_levels_without_both_classes_do_not_count() -> None:
    levels, labels, available = example()
    labels[1] = 0
    loss = TSCLoss(**ALL)
    alone = loss([z[:1] for z in levels], labels[:1], available[:1])
    torch.testing.assert_close(loss(levels, labels, available), alone)
    # A third level of one cell cannot hold both.
    single = torch.randn(2, 3, 4, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    loss([*levels, single], labels, available).backward()
    torch.testing.assert_close(loss([*levels, single], labels, available), alone)
    assert single.grad is not None and not single.grad.any()


def test_one_tumour_voxel_in_one_phase_has_no_positive() -> None:
    z = torch.randn(1, 1, 3, 2, 2, 2, dtype=torch.float64)
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    labels[0, 0, 0, 0] = 1
    got = TSCLoss(**ALL)([z], labels, torch.ones(1, 1, dtype=torch.bool))
    assert got.item() == pytest.approx(case_of_all_pairs(z[0].numpy(), labels[0].numpy(), 0.1))
    labels[0] = 255
    labels[0, 0, 0, :2] = torch.tensor([0, 1])  # no anchor has a positive
    assert TSCLoss()([z], labels, torch.ones(1, 1, dtype=torch.bool)).item() == 0


def test_phases_that_are_missing_and_voxels_that_are_not_decided_change_nothing() -> None:
    levels, labels, available = example()
    other = [z.detach().clone() for z in levels]
    other[0][1, -1] = other[1][1, -1] = 7.0
    other[0][1, :, :, 1, 3] = 7.0  # the cells that hold the undecided row
    torch.testing.assert_close(TSCLoss(**ALL)(levels, labels, available), TSCLoss(**ALL)(other, labels, available))


def test_the_hinge_is_what_is_left_as_the_temperature_goes_to_zero() -> None:
    levels, labels, available = example()
    hinge = TSCLoss(hardest_hinge=True, **ALL)(levels, labels, available)
    gaps = []
    for tau in (0.1, 0.03, 0.01):
        gaps.append(abs((tau * TSCLoss(tau, **ALL)(levels, labels, available) - hinge).item()))
    # The distance is at most tau log(1 + negatives).
    assert hinge > 0.1 and gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.01 * math.log(1 + 32)


def test_half_of_the_background_is_drawn_from_around_the_tumour() -> None:
    labels = torch.zeros(1, 40, 40, 40, dtype=torch.long)
    labels[0, 18:22, 18:22, 18:22] = 1
    z = torch.zeros(1, 1, 2, 40, 40, 40, requires_grad=True)
    with torch.no_grad():
        z += torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    TSCLoss()([z], labels, torch.ones(1, 1, dtype=torch.bool), torch.Generator().manual_seed(0)).backward()
    assert z.grad is not None
    touched = z.grad[0, 0].abs().sum(0).numpy() > 0
    tumour = labels[0].numpy() == 1
    shell = ndimage.binary_dilation(tumour, np.ones((3, 3, 3)), iterations=3) & ~tumour
    assert [int((touched & where).sum()) for where in (tumour, shell, ~tumour & ~shell)] == [64, 64, 64]


def test_the_same_draw_gives_the_same_loss() -> None:
    levels, labels, available = example()
    draw = [TSCLoss(anchors=2)(levels, labels, available, torch.Generator().manual_seed(seed)).item() for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]


def test_a_sample_is_right_on_average() -> None:
    levels, labels, available = example()
    levels, labels, available = [levels[0][:1]], labels[:1], available[:1]
    g = torch.Generator().manual_seed(0)
    drawn = [TSCLoss(positives=2, anchors=1000)(levels, labels, available, g).item() for _ in range(200)]
    # With two phases or more, spatial pairs are fewer than temporal ones would have it, so that positives alone are compared.
    sampled, every = np.mean(drawn), TSCLoss(**ALL)(levels, labels, available).item()
    assert sampled == pytest.approx(every, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_gradients_are_finite_in_half_precision(dtype: torch.dtype, scale: float) -> None:
    levels, labels, available = example()
    half = [(z.detach() * scale).to(dtype).requires_grad_() for z in levels]
    loss = TSCLoss(tau=0.01, **ALL)(half, labels, available)
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert all(z.grad is not None and torch.isfinite(z.grad).all() for z in half)


def test_features_of_zero_have_finite_gradients() -> None:
    levels, labels, available = example()
    zero = [torch.zeros_like(z).requires_grad_() for z in levels]
    loss = TSCLoss()(zero, labels, available)
    loss.backward()
    assert torch.isfinite(loss) and all(z.grad is not None and torch.isfinite(z.grad).all() for z in zero)


def test_it_makes_each_class_more_alike_than_the_classes_are() -> None:
    levels, labels, available = example()
    z = levels[0].detach()[:1].clone().requires_grad_()
    optimiser = torch.optim.Adam([z], 0.1)

    def gaps() -> list[float]:
        """How much more the least alike voxels of a class and a phase are alike than the most alike ones of both classes."""
        unit = (z / z.norm(dim=2, keepdim=True)).detach()[0].movedim(1, -1)
        tumour, background = (unit[:, mask[0]] for mask in occupied(labels[:1], HALF))
        across = (tumour @ background.mT).max().item()
        return [(own @ own.mT).min().item() - across for own in (tumour, background)]

    assert max(gaps()) < 0
    for _ in range(300):
        optimiser.zero_grad()
        TSCLoss(0.5, **ALL)([z], labels[:1], available[:1]).backward()
        optimiser.step()
    assert min(gaps()) > 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tau": 1e-5}, "temperature of 1e-05"),
        ({"tau": float("nan")}, "Choose 0.01"),
        ({"anchors": 0}, "one anchor"),
        ({"positives": 0}, "one"),
    ],
)
def test_settings_that_overflow_or_compare_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TSCLoss(**settings)


def test_levels_that_do_not_divide_the_labels_are_refused() -> None:
    with pytest.raises(InputError, match="Pad them"):
        occupied(torch.zeros(1, 60, 64, 64, dtype=torch.long), (32, 32, 32))  # of 64 voxels, padded
