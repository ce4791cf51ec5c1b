"""Cross-entropy and Dice where some voxels are not decided: for dense truth and for sparse corrections."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_breastseg.case import TUMOUR, UNDECIDED

SMOOTH = 1e-5


def cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy, weighted if asked for, over the decided voxels; parameters as of :func:`partial_ce_dice`."""
    with torch.autocast(logits.device.type, enabled=False):
        decided = (labels != UNDECIDED).float()
        weight = decided if weight is None else decided * weight.float()
        target = (labels == TUMOUR).float()
        log_p = torch.log_softmax(logits.float(), dim=1)
        cross = -(target * log_p[:, 1] + (1 - target) * log_p[:, 0])
        return (weight * cross).sum() / weight.sum().clamp(min=SMOOTH)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - Dice of the tumour, pooled over the batch, over the decided voxels; parameters as of :func:`partial_ce_dice`."""
    with torch.autocast(logits.device.type, enabled=False):
        decided, target = (labels != UNDECIDED).float(), (labels == TUMOUR).float()
        p = torch.softmax(logits.float(), dim=1)[:, 1]
        overlap = 2 * (decided * p * target).sum()
        return 1 - (overlap + SMOOTH) / ((decided * (p + target)).sum() + SMOOTH)


def jaccard_loss(logits: Tensor, labels: Tensor, pooled: bool = False) -> Tensor:
    """Return 1 - (I + 1) / (U + 1) of the tumour over the decided voxels, the mean over the images (HA-Net, eq. 12, but for the 1).

    An image without tumour in which none is seen costs next to nothing.

    Parameters
    ----------
    logits : Tensor, shape (batch, 2, D, H, W)
    labels : Tensor, shape (batch, D, H, W), integer
    pooled : bool
        Take intersection and union over the batch, and no 1, as released: then a batch without tumour learns nothing.
    """
    with torch.autocast(logits.device.type, enabled=False):
        decided, target = (labels != UNDECIDED).float(), (labels == TUMOUR).float()
        p = torch.softmax(logits.float(), dim=1)[:, 1] * decided
        axes = tuple(range(labels.ndim)) if pooled else tuple(range(1, labels.ndim))
        overlap = (p * target).sum(axes)
        union = (p + decided * target).sum(axes) - overlap
        one = 0.0 if pooled else 1.0
        return (1 - (overlap + one) / (union + one).clamp(min=SMOOTH)).mean()


def partial_ce_dice(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy, weighted if asked for, plus (1 - Dice of the tumour), both over the decided voxels only.

    With every voxel decided and no weight it is nnU-Net's CE + Dice (batch Dice, no background, smooth 1e-5).

    Parameters
    ----------
    logits : Tensor, shape (batch, 2, D, H, W)
    labels : Tensor, shape (batch, D, H, W), integer
        0 background, 1 tumour, 255 not decided.
    weight : Tensor, shape (batch, D, H, W), optional
        Weight of each voxel in the cross-entropy, >= 0.

    Returns
    -------
    Tensor
        Scalar; 0 with zero gradients if nothing is decided.
    """
    return cross_entropy(logits, labels, weight) + dice_loss(logits, labels)
