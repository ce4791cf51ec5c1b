"""HCMA-UNet: a hybrid CNN-Mamba U-Net with axial self-attention for tumours in DCE-MRI.

Structure, order of operations and initialisation follow the paper and the authors' public submission repository
(Haoxuanli-Thu/ICME2025), restated in own words; no code was copied. `docs/methods/hcma_unet.md` lists what comes from where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d, gelu, instance_norm, leaky_relu, pad

from napari_breastseg.networks.mixers import Mixer, make_mixer
from napari_breastseg.networks.segmentation import Part, SegmentationNetwork

WIDTHS = (32, 64, 128, 256, 512)
STRIDES = (2, 2, 2, 1)
DIVISOR = 8
CHUNKS = 4
"""Steps in which the first block's widest channels, at full resolution, are computed; the grouped convolution keeps them apart."""


def edges(n: int, flat: bool) -> tuple[int, int, int]:
    """Edges (z, y, x) of a kernel, a stride or a patch; a flat one covers one slice."""
    return (1 if flat else n), n, n


def margins(flat: bool) -> tuple[int, int, int]:
    """Padding (z, y, x) with which a kernel of edge 3 keeps the size."""
    return int(not flat), 1, 1


class ResBlock(nn.Module):
    """Inverted residual block: widen by two, 3 x 3 x 3 convolution of two channels a group with the stride, back again."""

    def __init__(self, channels: int, stride: int, flat: bool = False) -> None:
        super().__init__()
        wide, step = 2 * channels, edges(stride, flat)
        self.main = nn.Sequential(
            nn.Conv3d(channels, wide, 1), nn.InstanceNorm3d(wide, affine=True), nn.LeakyReLU(0.01),
            nn.Conv3d(wide, wide, edges(3, flat), step, margins(flat), groups=channels),
            nn.InstanceNorm3d(wide, affine=True), nn.LeakyReLU(0.01),
            nn.Conv3d(wide, channels, 1), nn.InstanceNorm3d(channels, affine=True), nn.LeakyReLU(0.01),
        )  # fmt: skip
        self.shortcut = nn.AvgPool3d(step) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same channels at 1 / stride of the size."""
        out: Tensor = self.shortcut(x) + self.main(x)
        return out


class DenseBlock(nn.Module):
    """Depthwise and pointwise convolutions with dense concatenation; exact GELU, element dropout p and 2 p."""

    def __init__(self, inputs: int, outputs: int, dropout: float, flat: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(inputs, inputs, edges(3, flat), padding=margins(flat), groups=inputs)
        self.norm = nn.InstanceNorm3d(inputs, affine=True)
        self.widen = nn.Conv3d(2 * inputs, 4 * inputs, 1)
        self.reduce = nn.Conv3d(6 * inputs, outputs, 1)
        self.drop1, self.drop2 = nn.Dropout(dropout), nn.Dropout(2 * dropout)

    def widened(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, D, H, W) to (batch, 6 inputs, D, H, W), all but the last layer."""
        near = torch.cat([x, self.drop1(self.norm(self.depthwise(x)))], 1)
        return torch.cat([near, self.drop2(gelu(self.widen(near)))], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, D, H, W) to (batch, outputs, D, H, W)."""
        out: Tensor = self.reduce(self.widened(x))
        return out


class Entry(nn.Module):
    """The stem and the first residual block; the stem's last layer and the block's first are multiplied into one linear map.

    So the widest tensors of the network at full resolution, 32 channels of the stem, never exist.
    """

    def __init__(self, stem: DenseBlock, block: ResBlock) -> None:
        super().__init__()
        self.stem, self.block = stem, block

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to (batch, 32, D / 2, H / 2, W / 2)."""
        wide = self.stem.widened(x)
        reduce, main = self.stem.reduce, self.block.main
        widen, norm, grouped = cast(nn.Conv3d, main[0]), cast(nn.InstanceNorm3d, main[1]), cast(nn.Conv3d, main[3])
        assert reduce.bias is not None and widen.bias is not None and grouped.bias is not None
        first = widen.weight.flatten(1)
        weight, bias = (first @ reduce.weight.flatten(1))[..., None, None, None], first @ reduce.bias + widen.bias
        parts = []
        step = widen.out_channels // CHUNKS
        for low in range(0, widen.out_channels, step):
            part = slice(low, low + step)
            h = conv3d(wide, weight[part], bias[part])
            h = leaky_relu(instance_norm(h, weight=norm.weight[part], bias=norm.bias[part]))
            parts.append(conv3d(h, grouped.weight[part], grouped.bias[part], grouped.stride, grouped.padding, groups=step // 2))
        # Averaging and a pointwise linear map may change places.
        out: Tensor = main[4:](torch.cat(parts, 1)) + reduce(self.block.shortcut(wide))
        return out


class Bridge(nn.Module):
    """What lies between two mixers: the dense block of a stage and the residual block of the next."""

    def __init__(self, dense: DenseBlock, block: ResBlock) -> None:
        super().__init__()
        self.dense, self.block = dense, block

    def forward(self, x: Tensor) -> Tensor:
        """Map the skip of a stage to what the next mixer sees."""
        out: Tensor = self.block(self.dense(x))
        return out


class EncoderStage(nn.Module):
    """Residual block with the stride, mixer (its output is the skip), dense block."""

    def __init__(self, channels: int, outputs: int, stride: int, dropout: float, mixer: nn.Module, flat: bool = False) -> None:
        super().__init__()
        self.reduce = ResBlock(channels, stride, flat)
        self.mix = mixer
        self.dense = DenseBlock(channels, outputs, dropout, flat)


class UpBlock(nn.Module):
    """HCMA-Up: 1 x 1 x 1 convolution, add the skip, transposed convolution of kernel = stride."""

    def __init__(self, low: int, high: int, stride: int, flat: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv3d(low, high, 1), nn.InstanceNorm3d(high, affine=True), nn.LeakyReLU(0.01))
        self.up = nn.ConvTranspose3d(high, high, edges(stride, flat), edges(stride, flat))

    def fuse(self, x: Tensor, skip: Tensor) -> Tensor:
        """Fuse x (batch, low, ...) with skip (batch, high, ...)."""
        out: Tensor = self.reduce(x) + skip
        return out

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Fuse x (batch, low, ...) with skip (batch, high, ...) and enlarge by the stride."""
        out: Tensor = self.up(self.fuse(x, skip))
        return out

    def classify(self, fused: Tensor, head: nn.Conv3d) -> Tensor:
        """Enlarge and apply `head` as one linear map: 1 / 16 of the multiplications, and no wide tensor at full resolution."""
        weight = torch.einsum("ioxyz,co->icxyz", self.up.weight, head.weight.flatten(1))
        bias = None if self.up.bias is None else head(self.up.bias[:, None, None, None]).flatten()
        return conv_transpose3d(fused, weight, bias, self.up.stride)


class Exit(nn.Module):
    """All that follows the last mixer, in evaluation: the deepest dense block, the decoder and the head."""

    def __init__(self, dense: DenseBlock, decoder: nn.ModuleList, head: nn.Conv3d) -> None:
        super().__init__()
        self.dense, self.decoder, self.head = dense, decoder, head

    def forward(self, *skips: Tensor) -> Tensor:
        """Map the outputs of the mixers, finest first, to the logits."""
        last, fused = fuse_all(self.decoder, [*skips, self.dense(skips[-1])])
        return last.classify(fused, self.head)


def fuse_all(decoder: nn.ModuleList, encoded: Sequence[Tensor]) -> tuple[UpBlock, Tensor]:
    """Decode skips, finest first, and the deepest features up to the last transposed convolution; return its block and what it enlarges."""
    *skips, x = encoded
    *ups, last = (cast(UpBlock, block) for block in decoder)
    for up in ups:
        x = up(x, skips.pop())
    return last, last.fuse(x, skips.pop())


class HCMAUNet(SegmentationNetwork):
    """HCMA-UNet and the ablations of its Table II.

    Any size is taken: the input is padded to a multiple of 8 (at least 16) by replication and the outputs are cropped.

    Parameters
    ----------
    in_channels, classes : int
    mixer : str
        ``"full"`` is the published network; the others are the rows of Table II.
    patch : int
        Edge of the training patch that sizes the position embeddings (128 gives the published counts).
    flat : bool
        For images of one slice: kernels and strides are 1 along z, nothing is padded there, and slices attend to no other.
    """

    decoding = ("decoder", "head")
    width = WIDTHS[0]

    def __init__(self, in_channels: int = 1, classes: int = 2, mixer: Mixer = "full", patch: int = 128, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat
        self.stem = DenseBlock(in_channels, WIDTHS[0], 0.0, flat)
        self.encoder = nn.ModuleList()
        length = patch
        for channels, out, stride, dropout in zip(WIDTHS, WIDTHS[1:], STRIDES, (0.025, 0.05, 0.1, 0.1), strict=False):
            length //= stride
            self.encoder.append(EncoderStage(channels, out, stride, dropout, make_mixer(mixer, channels, length, flat), flat))
        self.decoder = nn.ModuleList(UpBlock(WIDTHS[i + 1], WIDTHS[i], STRIDES[i], flat) for i in (3, 2, 1, 0))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv3d(WIDTHS[0], classes, 1)
        for block in self.modules():
            if isinstance(block, (ResBlock, DenseBlock)):
                block.apply(_truncated_normal)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the skips of the stages, finest first, and the deepest features."""
        skips = self._skips(x, self.entrances())
        return [*skips, self._stages()[-1].dense(skips[-1])]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        last, fused = fuse_all(self.decoder, encoded)
        if self.training and self.dropout.p > 0:
            return crop(self.head(self.dropout(last.up(fused))), size)
        return crop(last.classify(fused, self.head), size)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, 32, D, H, W), on which FRLoss works, and the logits (batch, classes, D, H, W)."""
        last, fused = fuse_all(self.decoder, encoded)
        features = crop(last.up(fused), size)
        return features, self.head(self.dropout(features))

    def entrances(self) -> list[nn.Module]:
        """Return the convolutional parts of the encoder that lead to each mixer."""
        stages = self._stages()
        bridges = [Bridge(stage.dense, following.reduce) for stage, following in pairwise(stages)]
        return [Entry(self.stem, stages[0].reduce), *bridges]

    def parts(self) -> list[nn.Module]:
        """Return the parts without a mixer, in order: those of the encoder, and all that follows the last mixer."""
        return [*self.entrances(), Exit(self._stages()[-1].dense, self.decoder, self.head)]

    def assemble(self, parts: Sequence[Part], x: Tensor) -> Tensor:
        """Return the logits as `forward` does, with `parts`, or what stands for them, doing their share."""
        *entrances, leave = parts
        return crop(leave(*self._skips(x, entrances)), x.shape[2:])

    def _stages(self) -> list[EncoderStage]:
        return [cast(EncoderStage, stage) for stage in self.encoder]

    def _skips(self, x: Tensor, entrances: Sequence[Part]) -> list[Tensor]:
        """Return the outputs of the mixers, finest first."""
        sizes = x.shape[3:] if self.flat else x.shape[2:]
        missing = [m for s in reversed(sizes) for m in (0, max(2 * DIVISOR, math.ceil(s / DIVISOR) * DIVISOR) - s)]
        if any(missing):
            x = pad(x, missing + [0, 0] * self.flat, mode="replicate")
        skips = []
        for enter, stage in zip(entrances, self._stages(), strict=True):
            x = stage.mix(enter(x))
            skips.append(x)
        return skips


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (..., D, H, W) to `size`, away from the origin."""
    d, h, w = size
    return x[..., :d, :h, :w]


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.06)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
