"""The losses of learning from corrections, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from napari_breastseg.case import UNDECIDED
from napari_breastseg.losses.sparse import balance, distillation, trust_region, trusted


def test_tumour_tempting_tissue_and_plain_background_weigh_one_each() -> None:
    labels = torch.tensor([[[[0, 0, 0, 0, 0, 1, 1, UNDECIDED]]]])
    before = torch.tensor([[[[0.0, 0.01, 0.02, 0.0, 0.8, 0.9, 0.0, 0.9]]]])
    assert balance(labels, before)[0, 0, 0].tolist() == [0.25] * 4 + [1.0] + [0.5] * 2 + [0.0]


def test_trust_weighs_tumour_tempting_tissue_and_background_near_and_far_alike_beyond_a_box_around_corrections() -> None:
    decided = torch.zeros(1, 15, 15, 15, dtype=torch.bool)
    decided[0, 7, 7, 7] = True
    before = torch.zeros(1, 15, 15, 15)
    before[0, 0, 0, :2], before[0, 7, 7, 2:13], before[0, 14, 14, 14] = 0.9, 0.8, 0.2
    weight = trusted(decided, before, 2)
    assert not weight[0, 5:10, 5:10, 5:10].any()
    assert weight[0, 7, 7, 2:5].tolist() == weight[0, 7, 7, 10:13].tolist() == [pytest.approx(0.25 / 8)] * 3
    assert weight[0, 0, 0, 0] == weight[0, 7, 7, 2]
    assert weight[0, 14, 14, 14] == 0.25
    near, far = 13**3 - 5**3 - 6, 15**3 - 13**3 - 3
    assert float(weight[0, 1, 1, 1]) == pytest.approx(0.25 / near) and float(weight[0, 0, 5, 5]) == pytest.approx(0.25 / far)
    assert float(weight.sum()) == pytest.approx(1)


def test_trust_is_least_where_nothing_changed_and_blind_near_corrections() -> None:
    before = torch.tensor([[[[0.2, 0.9]]]])
    same, weight = torch.logit(before), torch.tensor([[[[0.5, 0.0]]]])
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / 2
    assert float(trust_region(same, before, weight)) == pytest.approx(entropy, rel=1e-5)
    assert float(trust_region(same + 1, before, weight)) > entropy
    moved = same + torch.tensor([0.0, 5.0])
    assert float(trust_region(moved, before, weight)) == pytest.approx(entropy, rel=1e-5)


def test_a_small_tumour_weighs_as_much_as_all_plain_background() -> None:
    labels = torch.zeros(1, 10, 10, 10, dtype=torch.uint8)
    labels[0, 5, 5, 5] = 1
    before = torch.full(labels.shape, 0.01)
    before[labels == 1] = 0.99
    log_odds = torch.logit(before).requires_grad_()
    forgot = torch.where(labels == 1, -5.0, 0.0) + log_odds
    invented = torch.where(labels == 0, 5.0, 0.0) + log_odds
    gradients = [torch.autograd.grad(distillation(x, before, labels), log_odds)[0].abs().sum() for x in (forgot, invented)]
    assert float(gradients[0]) == pytest.approx(float(gradients[1]), rel=0.05)


def test_distillation_leaves_undecided_voxels_out() -> None:
    labels = torch.tensor([[[[0, UNDECIDED]]]])
    before = torch.tensor([[[[0.5, 0.5]]]])
    assert float(distillation(torch.tensor([[[[0.0, 50.0]]]]), before, labels)) == pytest.approx(math.log(2) / 3)
    nothing = distillation(torch.zeros(1, 1, 1, 2), before, torch.full_like(labels, UNDECIDED))
    assert float(nothing) == 0.0
