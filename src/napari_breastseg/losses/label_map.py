"""The loss of HCNet's heterogeneity prediction (eqs. 2 to 4): Dice and weighted cross-entropy over the labels of a cluster map."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_breastseg.losses.overlap import SMOOTH

LARGEST = 20.0
"""Largest weight of a label, relative to the smallest: the rarest clusters are a few noisy voxels."""


def label_weights(counts: Tensor) -> Tensor:
    """Weight of each label in the cross-entropy, inverse to how often it is found.

    Clipped to :data:`LARGEST` times the smallest, mean 1; labels that are never found weigh as much as the rarest.

    Parameters
    ----------
    counts : Tensor, shape (label,)
        Voxels of each label in the training cases.
    """
    inverse = 1 / counts.double().clamp(min=1)
    clipped = inverse.clamp(max=LARGEST * float(inverse.min()))
    return (clipped / clipped.mean()).float()


def label_map_loss(logits: Tensor, labels: Tensor, weights: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Cross-entropy weighted by label plus (1 - mean Dice of the labels that are there).

    Of the voxels outside the breast (label 0) only as many as lie inside take part, drawn at random: there is little to learn from air.

    Parameters
    ----------
    logits : Tensor, shape (batch, label, D, H, W)
    labels : Tensor, shape (batch, D, H, W), integer
    weights : Tensor, shape (label,)
        See :func:`label_weights`.
    generator : torch.Generator, optional
        Of the draw, on the CPU.

    Returns
    -------
    Tensor
        Scalar.
    """
    with torch.autocast(logits.device.type, enabled=False):
        inside = labels > 0
        within = int(inside.sum())
        chance = within / max(labels.numel() - within, 1) if within else 1.0
        drawn = torch.rand(labels.shape, generator=generator).to(labels.device) < chance
        taken = (inside | drawn).float()
        log_p = torch.log_softmax(logits.float(), dim=1)
        each = weights.to(labels.device)[labels.long()] * taken
        cross = -(each * log_p.gather(1, labels.long()[:, None])[:, 0]).sum() / each.sum().clamp(min=SMOOTH)
        p = log_p.exp() * taken[:, None]
        target = torch.zeros_like(p).scatter_(1, labels.long()[:, None], 1.0) * taken[:, None]
        axes = (0, *range(2, p.ndim))
        dice = (2 * (p * target).sum(axes) + SMOOTH) / (p.sum(axes) + target.sum(axes) + SMOOTH)
        there = target.sum(axes) > 0
        return cross + 1 - (dice * there).sum() / there.sum().clamp(min=1)
