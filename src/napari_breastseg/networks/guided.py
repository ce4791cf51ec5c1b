"""Prediction-guided refinement (BReMS-Net, eqs. 1 to 4): a first prediction says where its network should look again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from napari_breastseg.networks.segmentation import SegmentationNetwork

BASE = "base."
"""Beginning of the names of the weights of the network that is refined."""


class PredictionGuidedRefinement(nn.Module):
    """Gate features by a first prediction and predict again.

    With features F and the logits of the first prediction, P_c = sigmoid(logits), A = sigmoid(conv(P_c)), F_r = F A, and the second
    logits are conv1(relu(norm(conv(F_r)))), where conv has kernels of edge 3.

    Parameters
    ----------
    width : int
        Channels of the features.
    dimensions : int
        2 for images, 3 for volumes.
    instance_norm : bool
        Instead of the paper's batch norm, for batches of one or two.
    """

    def __init__(self, width: int, dimensions: Literal[2, 3] = 2, instance_norm: bool = False) -> None:
        super().__init__()
        conv: type[nn.Conv2d | nn.Conv3d] = nn.Conv2d if dimensions == 2 else nn.Conv3d
        batch, instance = (
            (nn.BatchNorm2d, nn.InstanceNorm2d) if dimensions == 2 else (nn.BatchNorm3d, nn.InstanceNorm3d)
        )  # fmt: skip
        norm: nn.Module = instance(width, affine=True) if instance_norm else batch(width)
        self.gate = conv(1, 1, 3, padding=1)
        self.look = nn.Sequential(conv(width, width, 3, padding=1, bias=False), norm, nn.ReLU())
        self.head = conv(width, 1, 1)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the second logits (batch, 1, ...) from features (batch, width, ...) and the first logits (batch, 1, ...)."""
        refined: Tensor = self.head(self.look(features * torch.sigmoid(self.gate(torch.sigmoid(logits)))))
        return refined


class GuidedNetwork(SegmentationNetwork):
    """Any network of two classes with a refinement upon its last features.

    The refinement is added to the network's own logits and begins as nothing, so that it can be put upon a network that is trained.

    Parameters
    ----------
    base : SegmentationNetwork
    """

    decoding = ("refinement",)

    def __init__(self, base: SegmentationNetwork) -> None:
        super().__init__()
        self.flat, self.width = base.flat, base.width
        self.frozen = tuple(BASE + name for name in base.frozen)
        self.base = base
        self.refinement = PredictionGuidedRefinement(base.width, 3, instance_norm=True)
        nn.init.zeros_(self.refinement.head.weight)
        assert self.refinement.head.bias is not None
        nn.init.zeros_(self.refinement.head.bias)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return what the base network's decoder needs of x (batch, channel, D, H, W)."""
        return self.base.encode(x)

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, D, H, W)."""
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the base network's last features (batch, feature, D, H, W), and the refined logits (batch, 2, D, H, W)."""
        features, logits = self.base.features(encoded, size)
        more = self.refinement(features, logits[:, 1:] - logits[:, :1])
        return features, logits + torch.cat([-more, more], 1) / 2

    def decoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of the base network's decoder and of the refinement."""
        yield from ((BASE + name, parameter) for name, parameter in self.base.decoder_parameters())
        yield from ((f"refinement.{name}", parameter) for name, parameter in self.refinement.named_parameters())
