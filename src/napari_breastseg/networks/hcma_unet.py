"""HCMA-UNet: a hybrid CNN-Mamba U-Net with axial self-attention for tumours in DCE-MRI.

Structure, order of operations and initialisation follow the paper and the authors' public submission repository
(Haoxuanli-Thu/ICME2025), restated in own words; no code was copied. `docs/methods/hcma_unet.md` lists what comes from where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d, gelu, interpolate, leaky_relu, linear, pad, scaled_dot_product_attention, silu

from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.selective_scan import cross_scan

Mixer: TypeAlias = Literal["none", "vssb", "vssb+asc", "vssb+asa", "full", "mamba3d"]
"""The ablations of Table II: what stands in the place of the multi-view inter-slice mixer (MISM)."""

WIDTHS = (32, 64, 128, 256, 512)
STRIDES = (2, 2, 2, 1)
DIVISOR = 8


class SS2D(nn.Module):
    """2-D selective scan over four routes of a slice (VMamba's first version): expand 0.5, 3 x 3 depthwise convolution.

    The tokens stay where they are in the volume: the convolution and the scan walk each slice through the volume's own memory.

    Parameters
    ----------
    width : int
        Channels of the tokens, m; the inner width is m / 2.
    axis : int
        The slices lie across this axis of the volume.
    states : int
        Length N of the state vector of each channel.
    """

    routes = 4

    def __init__(self, width: int, axis: int, states: int = 32) -> None:
        super().__init__()
        inner, rank = width // 2, math.ceil(width / 16)
        self.axis, self.inner, self.rank, self.states = axis, inner, rank, states
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.project_scan = nn.Parameter(torch.empty(self.routes, rank + 2 * states, inner))
        self.project_dt = nn.Parameter(torch.empty(self.routes, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(self.routes, inner))
        self.log_a = nn.Parameter(torch.empty(self.routes, inner, states))
        self.skip = nn.Parameter(torch.ones(self.routes, inner))
        self.norm = nn.LayerNorm(inner)
        self.project_out = nn.Linear(inner, width, bias=False)
        initialise_scan(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens of shape (batch, D, H, W, channel) within each slice."""
        a, gate = self.project_in(tokens).chunk(2, dim=-1)
        padding = [int(axis != self.axis) for axis in range(3)]
        a = conv3d(a.movedim(-1, 1), self.conv.weight.unsqueeze(self.axis + 2), self.conv.bias, 1, padding, 1, self.inner)
        y = _scan(self, silu(a).movedim(1, -1), self.axis)
        out: Tensor = self.project_out(self.norm(y) * silu(gate))
        return out


class Mamba(nn.Module):
    """Mamba-1 mixer (Gu and Dao 2023) over all voxels in storage order, one direction: expand 2, causal convolution of 4 taps."""

    routes = 1

    def __init__(self, width: int, states: int = 32) -> None:
        super().__init__()
        inner, rank = 2 * width, math.ceil(width / 16)
        self.inner, self.rank, self.states = inner, rank, states
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, 4, groups=inner)
        self.project_scan = nn.Parameter(torch.empty(self.routes, rank + 2 * states, inner))
        self.project_dt = nn.Parameter(torch.empty(self.routes, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(self.routes, inner))
        self.log_a = nn.Parameter(torch.empty(self.routes, inner, states))
        self.skip = nn.Parameter(torch.ones(self.routes, inner))
        self.project_out = nn.Linear(inner, width, bias=False)
        initialise_scan(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens of shape (batch, length, channel)."""
        a, gate = self.project_in(tokens).chunk(2, dim=-1)
        a = silu(self.conv(pad(a.transpose(1, 2), (3, 0)))).transpose(1, 2)
        out: Tensor = self.project_out(_scan(self, a[:, None, None], 0)[:, 0, 0] * silu(gate))
        return out


def initialise_scan(mixer: SS2D | Mamba) -> None:
    """Initialise the scan's parameters as Mamba does: dt log-uniform in [1e-3, 1e-1], A = -(1 ... N), skip = 1."""
    bound = mixer.rank**-0.5
    nn.init.uniform_(mixer.project_dt, -bound, bound)
    nn.init.uniform_(mixer.project_scan, -(mixer.inner**-0.5), mixer.inner**-0.5)
    with torch.no_grad():
        dt = torch.exp(torch.empty_like(mixer.dt_bias).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
        mixer.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        mixer.log_a.copy_(torch.arange(1, mixer.states + 1).log().expand_as(mixer.log_a))


def _scan(mixer: SS2D | Mamba, a: Tensor, axis: int) -> Tensor:
    """Scan features of shape (batch, D, H, W, channel) in fp32."""
    weights = (mixer.project_scan, mixer.project_dt, -torch.exp(mixer.log_a.float()), mixer.skip, mixer.dt_bias)
    with torch.autocast(a.device.type, enabled=False):
        return cross_scan(a.float().flatten(1, 3), *(w.float() for w in weights), a.shape[1:4], axis).view(a.shape)


class VSSB(nn.Module):
    """Bottlenecked visual state-space block on 2-D slices: down to w / 2, norm, SS2D, up again, with two residuals."""

    def __init__(self, width: int, axis: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 2)
        self.norm = nn.LayerNorm(width // 2, eps=1e-6)
        self.mixer = SS2D(width // 2, axis)
        self.up = nn.Linear(width // 2, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens of shape (batch, D, H, W, channel)."""
        z = self.down(tokens)
        z = z + self.mixer(self.norm(z))
        out: Tensor = tokens + self.up(z)
        return out


class AxialAttention(nn.Module):
    """Self-attention between slices at each in-plane position (paper eqs. 1 and 2), with position embedding and a gated skip.

    Parameters
    ----------
    width : int
        Channels w.
    axis : int
        The slices lie across this axis.
    length : int
        Slices at the training patch; for other lengths the embedding is interpolated linearly (an exact no-op at `length`).
    """

    def __init__(self, width: int, axis: int, length: int) -> None:
        super().__init__()
        self.axis = axis
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.position = nn.Parameter(torch.empty(width, length))
        self.gate = nn.Parameter(torch.zeros(()))
        nn.init.xavier_uniform_(self.position)

    def forward(self, mixed: Tensor, branch_input: Tensor) -> Tensor:
        """Attend over the slices of tensors of shape (batch, D, H, W, channel)."""
        slices = mixed.shape[self.axis + 1]
        position: Tensor = self.position
        if slices != position.shape[1]:
            position = interpolate(position[None], size=slices, mode="linear", align_corners=False)[0]
        p = position.T.view(*(-1 if axis == self.axis else 1 for axis in range(3)), mixed.shape[-1])
        q, k, v = (self._sequences(t) for t in (self.query(mixed) + p, self.key(mixed) + p, self.value(mixed)))
        attended = scaled_dot_product_attention(q, k, v)
        s = torch.sigmoid(self.gate)
        return s * self._volume(attended, mixed.shape) + (1 - s) * branch_input

    def _sequences(self, tokens: Tensor) -> Tensor:
        """View (batch, D, H, W, channel) as (batch, head, slice, channel), other positions shared out between the first two, uncopied."""
        if self.axis == 0:
            return tokens.flatten(2, 3).transpose(1, 2)
        planes = tokens.flatten(0, 1)
        return planes.transpose(1, 2) if self.axis == 1 else planes

    def _volume(self, sequences: Tensor, shape: torch.Size) -> Tensor:
        return (sequences if self.axis == 2 else sequences.transpose(1, 2)).reshape(shape)


class ViewBranch(nn.Module):
    """One anatomical view: slices across `axis` (0 axial, 1 coronal, 2 sagittal), VSSB within and attention between them."""

    def __init__(self, width: int, axis: int, length: int, attention: bool) -> None:
        super().__init__()
        self.block = VSSB(width, axis)
        self.attention = AxialAttention(width, axis, length) if attention else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, D, H, W, channel) to the same shape."""
        mixed: Tensor = self.block(tokens)
        return mixed if self.attention is None else self.attention(mixed, tokens)


class MISM(nn.Module):
    """Multi-view inter-slice mixer: three view branches, fused by a 1 x 1 x 1 convolution, LeakyReLU and instance norm.

    With channel splitting (ASC) the axial branch sees half of the channels and the others a quarter each; without it every
    branch sees all channels and the outputs are summed. All of it works on channels-last memory.
    """

    def __init__(self, channels: int, length: int, split: bool, attention: bool) -> None:
        super().__init__()
        self.sizes = [channels // 2, channels // 4, channels // 4] if split else [channels] * 3
        self.split = split
        self.views = nn.ModuleList(ViewBranch(width, axis, length, attention) for axis, width in enumerate(self.sizes))
        self.fuse = nn.Conv3d(channels, channels, 1)
        self.norm = nn.InstanceNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        tokens = x.movedim(1, -1)
        if self.split:
            mixed = torch.cat([view(part) for view, part in zip(self.views, tokens.split(self.sizes, -1), strict=True)], -1)
        else:
            mixed = self.views[0](tokens) + self.views[1](tokens) + self.views[2](tokens)
        mixed = leaky_relu(linear(mixed, self.fuse.weight.flatten(1), self.fuse.bias)).movedim(-1, 1)
        out: Tensor = x + self.norm(mixed)
        return out


class Mamba3d(nn.Module):
    """The ablation that stands in MISM's place: layer norm and one Mamba over all voxels in storage order, no residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = Mamba(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        tokens = self.mixer(self.norm(x.flatten(2).transpose(1, 2)))
        out: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return out


class ResBlock(nn.Module):
    """Inverted residual block: widen by two, 3 x 3 x 3 convolution of two channels a group with the stride, back again."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.main = nn.Sequential(
            nn.Conv3d(channels, wide, 1), nn.InstanceNorm3d(wide, affine=True), nn.LeakyReLU(0.01),
            nn.Conv3d(wide, wide, 3, stride, 1, groups=channels), nn.InstanceNorm3d(wide, affine=True), nn.LeakyReLU(0.01),
            nn.Conv3d(wide, channels, 1), nn.InstanceNorm3d(channels, affine=True), nn.LeakyReLU(0.01),
        )  # fmt: skip
        self.shortcut = nn.AvgPool3d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same channels at 1 / stride of the size."""
        out: Tensor = self.shortcut(x) + self.main(x)
        return out


class DenseBlock(nn.Module):
    """Depthwise and pointwise convolutions with dense concatenation; exact GELU, element dropout p and 2 p."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(inputs, inputs, 3, padding=1, groups=inputs)
        self.norm = nn.InstanceNorm3d(inputs, affine=True)
        self.widen = nn.Conv3d(2 * inputs, 4 * inputs, 1)
        self.reduce = nn.Conv3d(6 * inputs, outputs, 1)
        self.drop1, self.drop2 = nn.Dropout(dropout), nn.Dropout(2 * dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, D, H, W) to (batch, outputs, D, H, W)."""
        near = torch.cat([x, self.drop1(self.norm(self.depthwise(x)))], 1)
        out: Tensor = self.reduce(torch.cat([near, self.drop2(gelu(self.widen(near)))], 1))
        return out


class EncoderStage(nn.Module):
    """Residual block with the stride, mixer (its output is the skip), dense block."""

    def __init__(self, channels: int, outputs: int, stride: int, dropout: float, mixer: nn.Module) -> None:
        super().__init__()
        self.reduce = ResBlock(channels, stride)
        self.mix = mixer
        self.dense = DenseBlock(channels, outputs, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the skip (batch, channels, ...) and the features for the next stage (batch, outputs, ...), both at 1 / stride."""
        skip = self.mix(self.reduce(x))
        return skip, self.dense(skip)


class UpBlock(nn.Module):
    """HCMA-Up: 1 x 1 x 1 convolution, add the skip, transposed convolution of kernel = stride."""

    def __init__(self, low: int, high: int, stride: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv3d(low, high, 1), nn.InstanceNorm3d(high, affine=True), nn.LeakyReLU(0.01))
        self.up = nn.ConvTranspose3d(high, high, stride, stride)

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
    """

    decoding = ("decoder", "head")

    def __init__(self, in_channels: int = 1, classes: int = 2, mixer: Mixer = "full", patch: int = 128) -> None:
        super().__init__()
        self.stem = DenseBlock(in_channels, WIDTHS[0], 0.0)
        self.encoder = nn.ModuleList()
        length = patch
        for channels, out, stride, dropout in zip(WIDTHS, WIDTHS[1:], STRIDES, (0.025, 0.05, 0.1, 0.1), strict=False):
            length //= stride
            self.encoder.append(EncoderStage(channels, out, stride, dropout, _mixer(mixer, channels, length)))
        self.decoder = nn.ModuleList(UpBlock(WIDTHS[i + 1], WIDTHS[i], STRIDES[i]) for i in (3, 2, 1, 0))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv3d(WIDTHS[0], classes, 1)
        for block in self.modules():
            if isinstance(block, (ResBlock, DenseBlock)):
                block.apply(_truncated_normal)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the skips of the stages, finest first, and the deepest features."""
        margins = [m for s in reversed(x.shape[2:]) for m in (0, max(2 * DIVISOR, math.ceil(s / DIVISOR) * DIVISOR) - s)]
        if any(margins):
            x = pad(x, margins, mode="replicate")
        x = self.stem(x)
        encoded = []
        for stage in self.encoder:
            skip, x = stage(x)
            encoded.append(skip)
        return [*encoded, x]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        last, fused = self._fuse(encoded)
        if self.training and self.dropout.p > 0:
            return crop(self.head(self.dropout(last.up(fused))), size)
        return crop(last.classify(fused, self.head), size)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, 32, D, H, W), on which FRLoss works, and the logits (batch, classes, D, H, W)."""
        last, fused = self._fuse(encoded)
        features = crop(last.up(fused), size)
        return features, self.head(self.dropout(features))

    def _fuse(self, encoded: Sequence[Tensor]) -> tuple[UpBlock, Tensor]:
        """Decode up to the last transposed convolution; return its block and what it enlarges."""
        *skips, x = encoded
        *ups, last = (block for block in self.decoder if isinstance(block, UpBlock))
        for up in ups:
            x = up(x, skips.pop())
        return last, last.fuse(x, skips.pop())


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (..., D, H, W) to `size`, away from the origin."""
    d, h, w = size
    return x[..., :d, :h, :w]


def _mixer(mixer: Mixer, channels: int, length: int) -> nn.Module:
    if mixer == "none":
        return nn.Identity()
    if mixer == "mamba3d":
        return Mamba3d(channels)
    return MISM(channels, length, split=mixer in ("vssb+asc", "full"), attention=mixer in ("vssb+asa", "full"))


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.06)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
