"""3D UX-Net (Lee et al., ICLR 2023): large depthwise kernels in the encoder, UNETR's convolutional decoder. HCNet's HIPM is one.

The layout is restated in own words from the paper and the authors' public repository (MASILab/3DUX-Net); no code was copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrUpBlock
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from napari_breastseg.networks.ends import padded
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import SegmentationNetwork

WIDTHS = (48, 96, 192, 384)
COMPACT_WIDTHS = (8, 16, 32, 64)
DEPTH = 2
"""UX blocks of each stage."""
LAYER_SCALE = 1e-6
"""What the blocks' own part begins with: the encoder starts as its stem and down-samplers alone."""
DIVISOR = (32, 32, 32)
"""The published rule; the deepest features then have two voxels along each axis, which instance norm needs."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each voxel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        return layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class UXBlock(nn.Module):
    """Depthwise convolution of edge 7, then each channel by itself widened by four and back, scaled and added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv3d(channels, channels, 7, padding=3, groups=channels),
            ChannelNorm(channels),
            nn.Conv3d(channels, 4 * channels, 1, groups=channels),
            nn.GELU(),
            nn.Conv3d(4 * channels, channels, 1, groups=channels),
        )
        self.scale = nn.Parameter(torch.full((channels, 1, 1, 1), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        out: Tensor = x + self.scale * self.main(x)
        return out


class UXNet3D(SegmentationNetwork):
    """3D UX-Net.

    Any size is taken: the input is padded to a multiple of 32 by replication and the outputs are cropped.

    Parameters
    ----------
    in_channels, classes : int
        HIPM has 11 classes: ten clusters of time-intensity curves, and 0 for what is outside of the breast.
    widths : sequence of int
        Channels of the four stages; :data:`COMPACT_WIDTHS` for small machines.
    hidden : int
        Channels of the deepest features; twice the last width if not given.
    """

    decoding = ("decoder", "head")

    def __init__(self, in_channels: int = 1, classes: int = 14, widths: Sequence[int] = WIDTHS, hidden: int | None = None) -> None:
        super().__init__()
        self.width = widths[0]
        deep = hidden or 2 * widths[-1]
        downs = [nn.Sequential(nn.Conv3d(in_channels, widths[0], 7, stride=2, padding=3), ChannelNorm(widths[0]))]
        downs += [nn.Sequential(ChannelNorm(low), nn.Conv3d(low, high, 2, stride=2)) for low, high in pairwise(widths)]
        self.stages = nn.ModuleList(
            nn.Sequential(down, *(UXBlock(width) for _ in range(DEPTH))) for down, width in zip(downs, widths, strict=True)
        )
        self.norms = nn.ModuleList(ChannelNorm(width) for width in widths)
        sides = zip([in_channels, *widths], [*widths, deep], strict=True)
        self.skips = nn.ModuleList(_basic(inputs, outputs) for inputs, outputs in sides)
        self.decoder = nn.ModuleList(
            UnetrUpBlock(3, low, high, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True)
            for high, low in reversed(list(pairwise([*widths, deep])))
        )
        self.decoder.append(_basic(widths[0], widths[0]))
        self.head = UnetOutBlock(3, widths[0], classes)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the skips, finest first, at the size of the padded input, and the deepest features."""
        x = padded(x, DIVISOR, DIVISOR)
        encoded = [self.skips[0](x)]
        for stage, norm, skip in zip(self.stages, self.norms, self.skips[1:], strict=True):
            x = stage(x)
            encoded.append(skip(norm(x)))
        return encoded

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, D, H, W) and the logits (batch, classes, D, H, W)."""
        *skips, x = encoded
        *ups, last = self.decoder
        for up in ups:
            x = up(x, skips.pop())
        features = crop(last(x), size)
        return features, self.head(features)


def _basic(inputs: int, outputs: int) -> nn.Module:
    block: nn.Module = UnetrBasicBlock(3, inputs, outputs, kernel_size=3, stride=1, norm_name="instance", res_block=True)
    return block
