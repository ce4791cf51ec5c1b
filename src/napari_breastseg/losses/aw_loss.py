"""AW-loss (BReMS-Net, eqs. 12 to 15): focal losses of several heads, each weighed by its share of their sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from napari_breastseg.case import TUMOUR, UNDECIDED

GAMMA = 2.0
SMALL = 1e-8


def focal_loss(logit: Tensor, labels: Tensor, gamma: float = GAMMA) -> Tensor:
    """Mean of -(1 - p_t)^gamma log p_t over the decided voxels (Lin et al. 2017, without alpha).

    Parameters
    ----------
    logit : Tensor, shape (batch, ...)
        Log-odds of tumour.
    labels : Tensor, shape (batch, ...), integer
        0 background, 1 tumour, 255 not decided.
    gamma : float

    Returns
    -------
    Tensor
        Scalar, float32 or float64; 0 if nothing is decided.
    """
    with torch.autocast(logit.device.type, enabled=False):
        logit = logit if logit.dtype == torch.float64 else logit.float()
        decided = (labels != UNDECIDED).to(logit)
        cross = softplus(torch.where(labels == TUMOUR, -logit, logit))  # -log p_t, finite for any logit
        loss = (-torch.expm1(-cross)) ** gamma * cross
        return (decided * loss).sum() / decided.sum().clamp(min=1)


def aw_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of w_q FL_q over the heads, w_q = FL_q / sum of FL, the weights detached: hard heads count most.

    With weights that pass gradients back, heads that are easier than the weighted mean would be trained to become worse.

    Parameters
    ----------
    logits : sequence of Tensor, shape (batch, ...)
        Log-odds of tumour of each head, at the size of the labels.
    labels : Tensor, shape (batch, ...), integer
    """
    losses = torch.stack([focal_loss(logit, labels) for logit in logits])
    hard = losses.detach()
    weights = (hard + SMALL) / (hard.sum() + len(logits) * SMALL)
    return (weights * losses).sum()
