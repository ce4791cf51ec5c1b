"""Losses of learning from corrections: what the person said, what the previous model said elsewhere, and what it said of replay."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED
from napari_breastseg.losses.frloss import dilate

UNSURE = 0.05
"""Probability from which healthy tissue counts as tempting in :func:`distillation`."""


def class_balance(labels: Tensor) -> Tensor:
    """Weight of each voxel, such that tumour and background together weigh 1 each; 0 where undecided."""
    weight = torch.zeros(labels.shape, device=labels.device)
    for value in (BACKGROUND, TUMOUR):
        chosen = labels == value
        weight[chosen] = 1.0 / max(int(chosen.sum()), 1)
    return weight


def away_from(decided: Tensor, reach: int) -> Tensor:
    """1.0 where no voxel of `decided`, shape (batch, D, H, W), is within `reach` voxels along every axis, else 0.0."""
    return 1.0 - dilate(decided, reach).float()


def trust_region(log_odds: Tensor, before: Tensor, where: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability `before`, averaged over the voxels `where` it is still believed."""
    value = binary_cross_entropy_with_logits(log_odds, before, reduction="none")
    return (where * value).sum() / where.sum().clamp(min=1)


def distillation(log_odds: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the previous model's probability on a labelled window (Li and Hoiem 2018, learning without forgetting).

    Tumour, tempting healthy tissue and plain background weigh alike, since a plain mean would let small tumours fade unnoticed.
    """
    value = binary_cross_entropy_with_logits(log_odds, before, reduction="none")
    tumour, tempting = labels == TUMOUR, before > UNSURE
    groups = [tumour, ~tumour & tempting, ~tumour & ~tempting]
    decided = labels != UNDECIDED
    means = [value[group & decided].mean() for group in groups if bool((group & decided).any())]
    return torch.stack(means).sum() / len(groups) if means else value.sum() * 0.0
