"""The sparse loss against MONAI where everything is decided, and by hand where it is not."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch.nn.functional import cross_entropy

from napari_breastseg.losses.overlap import partial_ce_dice


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
