"""Losses of learning from corrections: what the person said, what the previous model said elsewhere, and what it said of replay."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from napari_breastseg.case import BACKGROUND, TUMOUR
from napari_breastseg.losses.frloss import dilate

UNSURE = 0.05
"""Probability from which healthy tissue counts as tempting."""
NEAR = 3
"""Background counts as near a correction within so many times the reach of the trust region."""


def balance(labels: Tensor, before: Tensor) -> Tensor:
    """Weight of each voxel, such that tumour, tempting healthy tissue and plain background together weigh 1 each; 0 where undecided.

    With tumour and background alone, an erased false alarm would hardly weigh anything beside all the plain background; with a plain mean
    small strokes would fade unnoticed.

    Parameters
    ----------
    labels : Tensor, shape (batch, D, H, W)
    before : Tensor, same shape
        The previous model's probability, which tells what is tempting.
    """
    tempting = before > UNSURE
    weight = torch.zeros(labels.shape, device=labels.device)
    for group in (labels == TUMOUR, (labels == BACKGROUND) & tempting, (labels == BACKGROUND) & ~tempting):
        weight[group] = 1.0 / max(int(group.sum()), 1)
    return weight


def trusted(decided: Tensor, before: Tensor, reach: int) -> Tensor:
    """Weight of each voxel in the trust region; 0 within `reach` voxels of a correction, along every axis.

    Farther away four groups weigh a quarter each, if there are any of them: what the previous model gave more than 0.5, what tempted it,
    and plain background near the corrections and far from them. With a plain mean, growing too far beside a correction would cost nothing.

    Parameters
    ----------
    decided : Tensor, shape (batch, D, H, W), bool
        What was corrected.
    before : Tensor, same shape
        The previous model's probability.
    reach : int
    """
    away = ~dilate(decided, reach)
    near = dilate(decided, NEAR * reach)
    tumour, tempting = before > 0.5, before > UNSURE
    weight = torch.zeros(before.shape, device=before.device)
    for group in (tumour, tempting & ~tumour, near & ~tempting, ~near & ~tempting):
        weight[away & group] = 0.25 / max(int((away & group).sum()), 1)
    return weight


def trust_region(log_odds: Tensor, before: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability `before`, weighed voxel by voxel; see :func:`trusted`."""
    return (weight * binary_cross_entropy_with_logits(log_odds, before, reduction="none")).sum()


def distillation(log_odds: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability on a labelled window, balanced (Li and Hoiem 2018, learning without forgetting)."""
    value = binary_cross_entropy_with_logits(log_odds, before, reduction="none")
    return (balance(labels, before) * value).sum() / 3
