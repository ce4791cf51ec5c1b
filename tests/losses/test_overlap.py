"""The sparse loss against MONAI where everything is decided, and by hand where it is not."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch.nn.functional import cross_entropy

from napari_breastseg.losses.overlap import jaccard_loss, partial_ce_dice


def test_dense_labels_give_monais_dice_ce() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 5, 6, 7, requires_grad=True)
    labels = (torch.rand(2, 5, 6, 7) < 0.3).long()
    oracle = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    expected = oracle(logits, labels[:, None])
    got = partial_ce_dice(logits, labels)
    torch.testing.assert_close(got, expected)
    (a,), (b,) = torch.autograd.grad(got, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(a, b)


def test_undecided_voxels_change_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    labels = torch.randint(0, 2, (1, 4, 4, 4))
    labels[:, 2:] = 255
    value = partial_ce_dice(logits, labels)
    torch.testing.assert_close(value, partial_ce_dice(logits[:, :, :2], labels[:, :2]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[:, :, 2:].any()


def test_nothing_decided_gives_zero_and_finite_gradients() -> None:
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    value = partial_ce_dice(logits, torch.full((1, 2, 2, 2), 255))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert not gradient.any()


def test_weights_are_those_of_the_cross_entropy_alone() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 2, 3, 3, 3), torch.randint(0, 2, (1, 3, 3, 3))
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 1, 1, 1] = 7.0
    without = partial_ce_dice(logits, labels) - cross_entropy(logits, labels)
    one = cross_entropy(logits[:, :, 1, 1, 1], labels[:, 1, 1, 1])
    torch.testing.assert_close(partial_ce_dice(logits, labels, weight), without + one)


def test_jaccard_is_monais_but_for_the_one() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 2, 1, 30, 40), (torch.rand(2, 1, 30, 40) < 0.3).long()
    oracle = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, jaccard=True, smooth_nr=0, smooth_dr=0)
    torch.testing.assert_close(jaccard_loss(logits, labels), oracle(logits, labels[:, None]), rtol=0, atol=2e-3)
    pooled = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, jaccard=True, smooth_nr=0, smooth_dr=0, batch=True)
    torch.testing.assert_close(jaccard_loss(logits, labels, pooled=True), pooled(logits, labels[:, None]))


@pytest.mark.parametrize("pooled", [True, False])
def test_jaccard_of_an_image_without_tumour_is_finite(pooled: bool) -> None:
    nothing = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    for said in (-20.0, 0.0, 20.0):
        logits = torch.stack([torch.full((1, 1, 8, 8), -said), torch.full((1, 1, 8, 8), said)], 1).requires_grad_()
        value = jaccard_loss(logits, nothing, pooled)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_an_image_in_which_rightly_nothing_is_seen_costs_nothing() -> None:
    logits = torch.stack([torch.full((1, 1, 8, 8), 20.0), torch.full((1, 1, 8, 8), -20.0)], 1)
    assert jaccard_loss(logits, torch.zeros(1, 1, 8, 8, dtype=torch.long)).item() < 1e-6


def test_jaccard_leaves_undecided_voxels_out() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 2, 1, 8, 8), torch.randint(0, 2, (1, 1, 8, 8))
    labels[..., 4:] = 255
    torch.testing.assert_close(jaccard_loss(logits, labels), jaccard_loss(logits[..., :4], labels[..., :4]))
