"""Cross-entropy plus Dice where some voxels are not decided: one loss for dense truth and for sparse corrections."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_breastseg.case import TUMOUR, UNDECIDED

SMOOTH = 1e-5


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
    with torch.autocast(logits.device.type, enabled=False):
        decided = (labels != UNDECIDED).float()
        weight = decided if weight is None else decided * weight.float()
        target = (labels == TUMOUR).float()
        log_p = torch.log_softmax(logits.float(), dim=1)
        cross = -(target * log_p[:, 1] + (1 - target) * log_p[:, 0])
        p = log_p[:, 1].exp()
        mean_cross = (weight * cross).sum() / weight.sum().clamp(min=SMOOTH)
        overlap = 2 * (decided * p * target).sum()
        dice = (overlap + SMOOTH) / ((decided * (p + target)).sum() + SMOOTH)
        return mean_cross + (1 - dice)
