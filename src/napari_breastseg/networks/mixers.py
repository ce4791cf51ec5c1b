"""What mixes voxels over long ways in HCMA-UNet: the multi-view inter-slice mixer (MISM) and what stands in its place in Table II.

Everything here works on channels-last memory: inside, a volume is (batch, D, H, W, channel), and no view of it is ever copied out.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv3d, interpolate, leaky_relu, linear, pad, scaled_dot_product_attention, silu

from napari_breastseg.networks.selective_scan import cross_scan

Mixer: TypeAlias = Literal["none", "vssb", "vssb+asc", "vssb+asa", "full", "mamba3d"]
"""The ablations of Table II: what stands in the place of the multi-view inter-slice mixer (MISM)."""


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
    if mixer.dt_bias.is_meta:  # nothing to initialise, and for these operations torch would load its compiler: a second
        return
    bound = mixer.rank**-0.5
    nn.init.uniform_(mixer.project_dt, -bound, bound)
    nn.init.uniform_(mixer.project_scan, -(mixer.inner**-0.5), mixer.inner**-0.5)
    with torch.no_grad():
        dt = torch.exp(torch.empty_like(mixer.dt_bias).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
        mixer.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        mixer.log_a.copy_(torch.arange(1, mixer.states + 1).log().expand_as(mixer.log_a))


def _scan(mixer: SS2D | Mamba, a: Tensor, axis: int) -> Tensor:
    """Scan features of shape (batch, D, H, W, channel) in fp32."""
    with torch.autocast(a.device.type, enabled=False):
        project, project_dt, log_a, skip, bias = (
            weight.to(torch.promote_types(weight.dtype, torch.float32))
            for weight in (mixer.project_scan, mixer.project_dt, mixer.log_a, mixer.skip, mixer.dt_bias)
        )
        tokens = a.to(project.dtype).flatten(1, 3)
        return cross_scan(tokens, project, project_dt, -torch.exp(log_a), skip, bias, a.shape[1:4], axis).view(a.shape)


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
    branch sees all channels and the outputs are summed. All of it works on channels-last memory. In a flat one no slices lie above
    each other: the axial branch has none to attend to.
    """

    def __init__(self, channels: int, length: int, split: bool, attention: bool, flat: bool = False) -> None:
        super().__init__()
        self.sizes = [channels // 2, channels // 4, channels // 4] if split else [channels] * 3
        self.split = split
        self.views = nn.ModuleList(
            ViewBranch(width, axis, length, attention and not (flat and axis == 0)) for axis, width in enumerate(self.sizes)
        )
        self.fuse = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        tokens = x.movedim(1, -1)
        if self.split:
            mixed = torch.cat([view(part) for view, part in zip(self.views, tokens.split(self.sizes, -1), strict=True)], -1)
        else:
            mixed = self.views[0](tokens) + self.views[1](tokens) + self.views[2](tokens)
        mixed = leaky_relu(linear(mixed, self.fuse.weight.flatten(1), self.fuse.bias))
        return x + _instance_norm(mixed).movedim(-1, 1)


def _instance_norm(tokens: Tensor) -> Tensor:
    """Instance norm, without affine, of (batch, D, H, W, channel): batch norm sample by sample; torch's own would copy twice."""
    normed = [batch_norm(sample.flatten(0, 2), None, None, training=True).view(sample.shape) for sample in tokens]
    return torch.stack(normed) if len(normed) > 1 else normed[0][None]


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


def make_mixer(mixer: Mixer, channels: int, length: int, flat: bool = False) -> nn.Module:
    """Build a mixer for `channels` on slices of which there are `length` at the training patch; a flat one for images of one slice."""
    if mixer == "none":
        return nn.Identity()
    if mixer == "mamba3d":
        return Mamba3d(channels)
    return MISM(channels, length, split=mixer in ("vssb+asc", "full"), attention=mixer in ("vssb+asa", "full"), flat=flat)
