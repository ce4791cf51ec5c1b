"""Losses of learning from corrections: what the person said, what the previous model said elsewhere, and what it said of replay."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from napari_breastseg.case import BACKGROUND, TUMOUR
from napari_breastseg.losses.frloss import dilate

UNSURE = 0.05
"""Probability from which healthy tissue counts as tempting in :func:`balance`."""


def balance(labels: Tensor, before: Tensor) -> Tensor:
    """Weight of each voxel, such that tumour, tempting healthy tissue and plain background together weigh 1 each; 0 where undecided.

    With tumour and background alone, a false alarm in a case that is labelled throughout would hardly weigh anything beside all the plain
    background; with a plain mean small tumours would fade unnoticed.

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


def away_from(decided: Tensor, reach: int) -> Tensor:
    """1.0 where no voxel of `decided`, shape (batch, D, H, W), is within `reach` voxels along every axis, else 0.0."""
    return 1.0 - dilate(decided, reach).float()


def trust_region(log_odds: Tensor, before: Tensor, where: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability `before`, averaged over the voxels `where` it is still believed."""
    value = binary_cross_entropy_with_logits(log_odds, before, reduction="none")
    return (where * value).sum() / where.sum().clamp(min=1)


def distillation(log_odds: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability on a labelled window, balanced (Li and Hoiem 2018, learning without forgetting)."""
    value = binary_cross_entropy_with_logits(log_odds, before, reduction="none")
    return (balance(labels, before) * value).sum() / 3
