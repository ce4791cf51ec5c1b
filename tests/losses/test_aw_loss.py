"""AW-loss: the focal loss against float64 by hand and MONAI, and weights that never make a head worse."""

from __future__ import annotations

import pytest
import torch
from monai.losses import FocalLoss

from napari_breastseg.losses.aw_loss import aw_loss, focal_loss


def test_focal_loss_is_its_definition_in_float64() -> None:
    torch.manual_seed(0)
    logit, labels = 4 * torch.randn(2, 1, 9, 9, dtype=torch.float64), torch.randint(0, 2, (2, 1, 9, 9))
    p = torch.sigmoid(logit)
    right = torch.where(labels == 1, p, 1 - p)
    expected = (-((1 - right) ** 2) * right.log()).mean()
    torch.testing.assert_close(focal_loss(logit, labels), expected)
    torch.testing.assert_close(focal_loss(logit.float(), labels), expected.float())


def test_focal_loss_is_monais() -> None:
    torch.manual_seed(0)
    logit, labels = torch.randn(2, 1, 9, 9), torch.randint(0, 2, (2, 1, 9, 9))
    torch.testing.assert_close(focal_loss(logit, labels), FocalLoss(gamma=2.0)(logit, labels.float()))


@pytest.mark.parametrize("value", [-200.0, 0.0, 200.0])
def test_focal_loss_is_finite_however_sure_a_head_is(value: float) -> None:
    logit = torch.full((1, 1, 4, 4), value, requires_grad=True)
    loss = focal_loss(logit, torch.randint(0, 2, (1, 1, 4, 4)))
    (gradient,) = torch.autograd.grad(loss, logit)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_undecided_voxels_change_nothing() -> None:
    torch.manual_seed(0)
    logit, labels = torch.randn(1, 1, 8, 8), torch.randint(0, 2, (1, 1, 8, 8))
    labels[..., 4:] = 255
    torch.testing.assert_close(focal_loss(logit, labels), focal_loss(logit[..., :4], labels[..., :4]))
    assert focal_loss(logit, torch.full_like(labels, 255)).item() == 0


def heads(losses: list[float]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """One voxel of tumour for each head, with the logit at which its focal loss is the one given."""
    logits = []
    for wanted in losses:
        low, high = -20.0, 20.0
        for _ in range(80):
            middle = (low + high) / 2
            value = focal_loss(torch.tensor([[middle]], dtype=torch.float64), torch.ones(1, 1))
            low, high = (middle, high) if value > wanted else (low, middle)
        logits.append(torch.tensor([[low]], dtype=torch.float64, requires_grad=True))
    return logits, torch.ones(1, 1)


def test_no_head_is_trained_to_become_worse_and_hard_ones_count_most() -> None:
    found = [0.30, 0.12, 0.10, 0.05, 0.04]
    logits, labels = heads(found)
    single = torch.tensor([torch.autograd.grad(focal_loss(logit, labels), logit)[0].item() for logit in logits])
    weights = torch.tensor([g.item() for g in torch.autograd.grad(aw_loss(logits, labels), logits)]) / single
    torch.testing.assert_close(weights, torch.tensor(found) / sum(found), rtol=1e-4, atol=1e-6)  # d loss / d FL_q = w_q, all positive
    torch.testing.assert_close(aw_loss(logits, labels).item(), sum(f * f for f in found) / sum(found), rtol=1e-6, atol=0)


def test_weights_that_pass_gradients_would_do_so() -> None:
    """The negative control: sum FL^2 / sum FL, differentiated as it stands, has the published signs."""
    losses = torch.tensor([0.30, 0.12, 0.10, 0.05, 0.04], requires_grad=True)
    (gradient,) = torch.autograd.grad((losses**2).sum() / losses.sum(), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.67, 0.08, 0.01, -0.15, -0.19]), rtol=0, atol=6e-3)


def test_all_right_gives_next_to_nothing() -> None:
    logits = [torch.full((1, 1, 4, 4), -30.0, requires_grad=True) for _ in range(5)]
    loss = aw_loss(logits, torch.zeros(1, 1, 4, 4, dtype=torch.long))
    assert 0 <= loss.item() < 1e-6
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, logits))
