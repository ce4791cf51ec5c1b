"""FRLoss, the feature-guided region-aware loss of HCMA-UNet (eqs. 3 to 9): healthy voxels must not look like the tumour's centre.

It works on the last features of any network, in two or three dimensions, and never branches on data: no device synchronisation, no NaN in
a batch without tumour. The foreground centre, the top-N choice and the means are pooled over the whole batch, as eq. 3 reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from napari_breastseg.case import BACKGROUND, TUMOUR
from napari_breastseg.errors import InputError

Term: TypeAlias = Literal["pos", "boundary", "neg"]
TERMS: tuple[Term, ...] = ("pos", "boundary", "neg")
EPS = 1e-6


@dataclass(frozen=True)
class FRLoss:
    """``weight * (L_pos + L_boundary + L_neg)``, to be added to cross-entropy and Dice (paper eq. 9).

    Parameters
    ----------
    terms : sequence of str
        Which of "pos" (eq. 5: compact tumour), "boundary" (eq. 6: the surroundings of the tumour differ) and "neg" (eqs. 7 and 8: the most
        similar healthy voxels and their surroundings differ) take part; the eight subsets are the rows of the paper's Table III.
    boundary_reach, negative_reach : int
        T1 and T2: dilation by a 3 x 3 x 3 box, so many times.
    hardest : int
        N: most similar healthy voxels per batch.
    weight : float
        Lambda.
    pooling : str
        "batch" as published; "sample" has a centre and N voxels of its own for each sample.

    Raises
    ------
    InputError
        If a term or the pooling is unknown, or a number is negative.
    """

    terms: Sequence[Term] = TERMS
    boundary_reach: int = 10
    negative_reach: int = 10
    hardest: int = 250
    weight: float = 5.0
    pooling: Literal["batch", "sample"] = "batch"

    def __post_init__(self) -> None:
        """Refuse what would silently train with less than was asked for."""
        unknown = sorted(set(self.terms) - set(TERMS))
        if isinstance(self.terms, str) or unknown:
            raise InputError(f"FRLoss has no terms {self.terms!r}. Choose from {', '.join(TERMS)}.")
        if self.pooling not in ("batch", "sample"):
            raise InputError(f"FRLoss cannot be pooled by {self.pooling!r}. Choose batch or sample.")
        if min(self.boundary_reach, self.negative_reach, self.hardest, self.weight) < 0:
            raise InputError("T1, T2, N and lambda of FRLoss cannot be negative.")

    def __call__(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted loss.

        Parameters
        ----------
        features : Tensor, shape (batch, channel, [D,] H, W)
            The features from which the network's last layer makes its logits.
        labels : Tensor, shape (batch, [D,] H, W), integer
            1 tumour, 0 healthy; anything else takes part in nothing.

        Returns
        -------
        Tensor
            Scalar between 0 and 4 times the weight; 0 with zero gradients where a term has no voxels.
        """
        if self.pooling == "sample":
            parts = [self._pooled(f[None], y[None]) for f, y in zip(features, labels, strict=True)]
            return self.weight * torch.stack(parts).mean()
        return self.weight * self._pooled(features, labels)

    def _pooled(self, features: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            wide = features if features.dtype == torch.float64 else features.float()
            tumour, healthy = labels == TUMOUR, labels == BACKGROUND
            s = similarity(wide, foreground_centre(wide, tumour))
            region = regions(s.detach(), tumour, healthy, self)
            total = s.sum() * 0.0
            if "pos" in self.terms:
                total = total + _mean(1 - s, tumour)
            if "boundary" in self.terms:
                total = total + _mean(torch.relu(s), region.boundary)
            if "neg" in self.terms:
                total = total + _mean(torch.relu(s), region.negative)
            return total


class Regions(NamedTuple):
    """Where healthy tissue is compared with the tumour; boolean, shape (batch, [D,] H, W).

    Attributes
    ----------
    boundary : Tensor
        M: healthy voxels within T1 of the tumour.
    hardest : Tensor
        The N healthy voxels that look most like the tumour.
    negative : Tensor
        N region: healthy voxels within T2 of those.
    """

    boundary: Tensor
    hardest: Tensor
    negative: Tensor


def foreground_centre(features: Tensor, tumour: Tensor) -> Tensor:
    """Mean feature vector, shape (channel,), of the tumour voxels (eq. 3); zeros if there are none."""
    total = torch.einsum("bc...,b...->c", features, tumour.to(features.dtype))
    return total / tumour.sum().clamp(min=1)


def similarity(features: Tensor, centre: Tensor) -> Tensor:
    """Cosine, shape (batch, [D,] H, W), between each voxel's features and `centre` (eq. 4); 0 where either is zero."""
    dot = torch.einsum("bc...,c->b...", features, centre)
    norm = features.square().sum(1).clamp(min=EPS**2).sqrt() * centre.square().sum().clamp(min=EPS**2).sqrt()
    return dot / norm


def regions(similar: Tensor, tumour: Tensor, healthy: Tensor, settings: FRLoss) -> Regions:
    """Return M, the N hardest negatives and their surroundings (eqs. 6 and 7); no gradient flows through them."""
    hardest = hardest_voxels(similar, healthy, settings.hardest)
    return Regions(dilate(tumour, settings.boundary_reach) & healthy, hardest, dilate(hardest, settings.negative_reach) & healthy)


def hardest_voxels(similar: Tensor, healthy: Tensor, count: int) -> Tensor:
    """Choose the `count` healthy voxels that look most like the tumour (eq. 7), all if there are fewer; boolean, the shape of `similar`."""
    scores = torch.where(healthy, similar, -2.0).flatten()
    best = scores.topk(min(count, scores.numel()))
    # Fewer healthy voxels than asked for: the rest of the choice has a score of -2, which no cosine has.
    return torch.zeros_like(scores, dtype=torch.bool).scatter(0, best.indices, best.values > -1.5).view(similar.shape)


def dilate(mask: Tensor, reach: int) -> Tensor:
    """Dilate by a box of ``2 reach + 1`` along every axis but the first, which equals `reach` dilations by a box of 3.

    A box is separable, and a prefix sum says in one pass, whatever the reach, whether a stretch of an axis holds any voxel.
    """
    for axis in range(1, mask.ndim):
        length = mask.shape[axis]
        before = pad(mask.transpose(axis, -1).cumsum(-1, dtype=torch.int32), (1, 0))
        place = torch.arange(length, device=mask.device)
        count = before[..., (place + reach + 1).clamp(max=length)] - before[..., (place - reach).clamp(min=0)]
        mask = (count > 0).transpose(axis, -1)
    return mask


def _mean(value: Tensor, where: Tensor) -> Tensor:
    weight = where.to(value.dtype)
    return (weight * value).sum() / weight.sum().clamp(min=1)
