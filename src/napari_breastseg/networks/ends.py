"""The two ends of the published networks: an input of any size, and the one published logit as the logits of two classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def padded(x: Tensor, divisors: Sequence[int], least: Sequence[int]) -> Tensor:
    """Pad x (batch, channel, D, H, W) at the far ends, by replication, to multiples of `divisors` and at least `least` (D, H, W).

    The outputs are cropped back by :func:`napari_breastseg.networks.hcma_unet.crop`.
    """
    margins = [
        margin
        for size, divisor, smallest in zip(reversed(x.shape[2:]), reversed(divisors), reversed(least), strict=True)
        for margin in (0, max(smallest, -(-size // divisor) * divisor) - size)
    ]
    return pad(x, margins, mode="replicate") if any(margins) else x


def two_logits(logit: Tensor) -> Tensor:
    """Return logits (batch, 2, ...) whose log-odds of tumour, second minus first, are the one published logit (batch, 1, ...)."""
    return torch.cat([-logit, logit], 1) / 2
