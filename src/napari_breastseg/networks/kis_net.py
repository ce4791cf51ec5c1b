"""KIS-Net, the segmentation network of HCNet: a ResUNet whose image is first fused with the predicted map of kinetic heterogeneity (KIFB).

The ResUNet follows the mixed residual connections of Yu et al. (2017): short ones within the blocks, long ones added to the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from napari_breastseg.errors import InputError
from napari_breastseg.networks.ends import padded, two_logits
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import SegmentationNetwork

Norm: TypeAlias = Literal["batch", "instance"]
WIDTHS = (16, 32, 64, 128, 256)
COMPACT_WIDTHS = (8, 16, 32, 64, 128)
LABELS = 11
"""Ten clusters of time-intensity curves, and 0 for what is outside of the breast."""
DIVISOR = (16, 16, 16)
LEAST = (32, 32, 32)
"""Smallest size that is computed: the norms need more than one voxel at the deepest level."""


class ResBlock(nn.Module):
    """Two convolutions with norm beside the input, through a 1 x 1 x 1 convolution if the widths differ."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_conv_norm(inputs, outputs, norm), nn.ReLU(),
            *_conv_norm(outputs, outputs, norm),
        )  # fmt: skip
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1, bias=False)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, D, H, W) to (batch, outputs, D, H, W)."""
        out: Tensor = self.act(self.main(x) + self.shortcut(x))
        return out


class UpBlock(nn.Module):
    """Transposed convolution of kernel = stride = 2, the skip added, residual block."""

    def __init__(self, low: int, high: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(low, high, 2, stride=2)
        self.block = ResBlock(high, high, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Fuse x (batch, low, ...) with skip (batch, high, ...) at the size of the skip."""
        out: Tensor = self.block(self.up(x) + skip)
        return out


class ResUNet(SegmentationNetwork):
    """The ResUNet alone: the control that sees T1, or with two channels the one that sees pre- and post-contrast images.

    Any size is taken: the input is padded to a multiple of 16, at least 32, by replication and the outputs are cropped.

    Parameters
    ----------
    in_channels : int
    widths : sequence of int
        Channels of the levels; the published ones by default, :data:`COMPACT_WIDTHS` for small machines.
    norm : str
        "batch" as published, or "instance", for batches of one or two.

    Raises
    ------
    InputError
        If there is no such norm.
    """

    decoding = ("decoder", "head")

    def __init__(self, in_channels: int = 1, widths: Sequence[int] = WIDTHS, norm: Norm = "batch") -> None:
        super().__init__()
        if norm not in ("batch", "instance"):
            raise InputError(f"There is no norm {norm!r}. Choose batch or instance.")
        self.width = widths[0]
        self.encoder = nn.ModuleList([ResBlock(in_channels, widths[0], norm)])
        self.encoder.extend(nn.Sequential(nn.MaxPool3d(2), ResBlock(low, high, norm)) for low, high in pairwise(widths))
        self.decoder = nn.ModuleList(UpBlock(low, high, norm) for high, low in reversed(list(pairwise(widths))))
        self.head = nn.Conv3d(widths[0], 1, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features of the levels, finest first, at the size of the padded input."""
        return self._levels(padded(x, DIVISOR, LEAST))

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, D, H, W)."""
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, D, H, W) and the logits (batch, 2, D, H, W)."""
        *skips, x = encoded
        for up in self.decoder:
            x = cast(UpBlock, up)(x, skips.pop())
        features = crop(x, size)
        return features, two_logits(self.head(features))

    def _levels(self, x: Tensor) -> list[Tensor]:
        levels = []
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        return levels


class KIFB(nn.Module):
    """Fuse the image with the map of heterogeneity, at full resolution.

    s = ResBlock(T1); e = h E, a row of the table E for each label, mixed by the labels' probabilities h, so that nothing jumps where the
    most probable label changes; g = sigmoid(conv3(relu(conv3(e)))); the output is two convolutions, with norm and ReLU, of s and g.

    Parameters
    ----------
    labels, width : int
    norm : str
    """

    def __init__(self, labels: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.image = ResBlock(1, width, norm)
        self.table = nn.Conv3d(labels, width, 1, bias=False)
        self.gate = nn.Sequential(
            nn.Conv3d(width, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, width, 3, padding=1), nn.Sigmoid()
        )  # fmt: skip
        self.fuse = nn.Sequential(
            *_conv_norm(2 * width, width, norm), nn.ReLU(),
            *_conv_norm(width, width, norm), nn.ReLU(),
        )  # fmt: skip

    def forward(self, image: Tensor, h: Tensor) -> Tensor:
        """Map the image (batch, 1, D, H, W) and the probabilities h (batch, label, D, H, W) to (batch, width, D, H, W)."""
        out: Tensor = self.fuse(torch.cat([self.image(image), self.gate(self.table(h))], 1))
        return out


class KISNet(ResUNet):
    """KIS-Net: KIFB, then the ResUNet.

    Parameters
    ----------
    labels : int
        Of the map of heterogeneity.
    widths, norm
        Those of :class:`ResUNet`.
    hint_dropout : float
        Share of the training samples that get a map which says nothing, so that the network does not lean on the map alone.
    """

    def __init__(self, labels: int = LABELS, widths: Sequence[int] = WIDTHS, norm: Norm = "batch", hint_dropout: float = 0.1) -> None:
        super().__init__(widths[0], widths, norm)
        self.labels, self.hint_dropout = labels, hint_dropout
        self.kifb = KIFB(labels, widths[0], norm)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features of x (batch, 1 + label, D, H, W): the image, and the probability of each label."""
        return self.encode_with(x[:, :1], x[:, 1:])

    def encode_with(self, image: Tensor, h: Tensor) -> list[Tensor]:
        """Return what :meth:`encode` returns, of an image (batch, 1, D, H, W) and a map h (batch, label, D, H, W).

        Raises
        ------
        InputError
            If the map has another number of labels.
        """
        if h.shape[1] != self.labels:
            raise InputError(f"The map of heterogeneity has {h.shape[1]} labels, but this network was built for {self.labels}. Match them.")
        if self.training:
            dropped = torch.rand(len(h), 1, 1, 1, 1, device=h.device) < self.hint_dropout
            h = torch.where(dropped, 1 / self.labels, h)
        return self._levels(self.kifb(padded(image, DIVISOR, LEAST), padded(h, DIVISOR, LEAST)))


def _conv_norm(inputs: int, outputs: int, norm: Norm) -> tuple[nn.Module, nn.Module]:
    made = nn.BatchNorm3d(outputs) if norm == "batch" else nn.InstanceNorm3d(outputs, affine=True)
    return nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), made
