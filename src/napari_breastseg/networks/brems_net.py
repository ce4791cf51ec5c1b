"""BReMS-Net for masses in mammograms: ResNet-50, multi-hierarchical dilation (MHD), boundary-feature attention (BFA), refinement (PRM).

Restated from the paper, of which no code was found; what it leaves open is decided here and said in docs/methods/brems_net.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from napari_breastseg.networks.flat import FlatNetwork, ThreeTimes
from napari_breastseg.networks.guided import PredictionGuidedRefinement
from napari_breastseg.networks.hcma_unet import crop

GRANULARITIES = (3, 5)
"""Edges of the neighbourhoods that BFA compares a voxel with."""
HEADS = ("refined", "coarse", "quarter", "eighth", "sixteenth")


@dataclass(frozen=True)
class Sizes:
    """Channels and blocks.

    Attributes
    ----------
    block : str
        "bottleneck" of ResNet-50, or "basic".
    layers : tuple of int
        Residual blocks of the four stages.
    planes : tuple of int
        Channels of the stages, which bottlenecks widen by four.
    decoder : tuple of int
        Channels of the decoder, from 1/16 to 1/2 of the resolution.
    width : int
        Channels of the fused features.
    """

    block: Literal["bottleneck", "basic"] = "bottleneck"
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    planes: tuple[int, int, int, int] = (64, 128, 256, 512)
    decoder: tuple[int, int, int, int] = (512, 256, 128, 64)
    width: int = 64

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of the five stages of the encoder, finest first."""
        widen = 4 if self.block == "bottleneck" else 1
        return self.planes[0], *(widen * planes for planes in self.planes)


PUBLISHED = Sizes()
COMPACT = Sizes("basic", (2, 2, 2, 2), (24, 48, 96, 192), (96, 48, 32, 24), 24)


class BReMSNet(FlatNetwork):
    """BReMS-Net, and the rows of its ablation.

    Parameters
    ----------
    mhd, bfa, prm : bool
        Whether it has these parts.
    sizes : Sizes
    """

    decoding = ("enrich", "decoder", "fusion", "coarse_head", "heads", "refinement")

    def __init__(self, mhd: bool = True, bfa: bool = True, prm: bool = True, sizes: Sizes = PUBLISHED) -> None:
        super().__init__()
        self.width, self.own_coarse = sizes.width, prm
        # The stride of 2 in the first layer and no bias beside norms: torchvision's ResNet, which MONAI's is not by default.
        self.encoder = ResNet(
            sizes.block, list(sizes.layers), list(sizes.planes), 2, 3, conv1_t_stride=2, feed_forward=False, bias_downsample=False
        )
        stages = sizes.stages
        self.enrich = nn.ModuleList(MHD(channels) if mhd else nn.Identity() for channels in stages)
        inputs = (stages[-1], *sizes.decoder[:-1])
        self.decoder = nn.ModuleList(
            UpBlock(low, skip, high, bfa) for low, skip, high in zip(inputs, stages[-2::-1], sizes.decoder, strict=True)
        )
        self.fusion = Fusion(sizes.decoder, sizes.width)
        self.coarse_head = nn.Conv2d(sizes.width, 1, 1)
        self.refinement = PredictionGuidedRefinement(sizes.width) if prm else None
        self.heads = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in reversed(sizes.decoder[:3]))

    def entrances(self) -> list[nn.Module]:
        """Return what makes the five stages, finest first, of grey images (batch, 1, H, W)."""
        encoder = self.encoder
        first = nn.Sequential(ThreeTimes(), encoder.conv1, encoder.bn1, encoder.act)
        return [first, nn.Sequential(encoder.maxpool, encoder.layer1), encoder.layer2, encoder.layer3, encoder.layer4]

    def answer(self, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the fused features (batch, width, H, W) and the refined logit (batch, 1, H, W)."""
        fused = self.fusion(self._decoded(encoded))
        logits = self._logits(fused)
        return _enlarged(fused), _enlarged(logits[0])

    def first_logits(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, 1, H, W) of the coarse prediction P_c."""
        return self.as_logits(_enlarged(self.coarse_head(self.fusion(self._decoded(encoded)))), size)

    def every_answer(self, encoded: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the logits of all heads, (batch, 1, H, W), by the names in :data:`HEADS`, and the fused features as "features"."""
        decoded = self._decoded(encoded)
        fused = self.fusion(decoded)
        answers = dict(zip(HEADS, self._logits(fused), strict=False))
        deeper = zip(HEADS[2:], self.heads, reversed(decoded[:3]), strict=True)
        answers |= {name: head(features) for name, head, features in deeper}
        size = [2 * edge for edge in fused.shape[2:]]
        return {name: interpolate(x, size, mode="bilinear", align_corners=False) for name, x in {**answers, "features": fused}.items()}

    def own_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates W of BFA, from 0 to 1, the mean over channels and levels; nothing without BFA."""
        *skips, _ = self._enriched(self.encode(x))
        pairs = zip((cast(UpBlock, block).gate for block in self.decoder), reversed(skips), strict=True)
        gates = [gate(skip).mean(1, True) for gate, skip in pairs if gate is not None]
        if not gates:
            return {}
        size = [2 * edge for edge in gates[-1].shape[2:]]
        levels = [interpolate(gate, size, mode="bilinear", align_corners=False) for gate in gates]
        return {"boundary-attention": crop(torch.stack(levels).mean(0), x.shape[2:])}

    def _enriched(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        return [part(stage) for part, stage in zip(self.enrich, encoded, strict=True)]

    def _decoded(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        *skips, x = self._enriched(encoded)
        decoded = []
        for block in self.decoder:
            x = block(x, skips.pop())
            decoded.append(x)
        return decoded

    def _logits(self, fused: Tensor) -> list[Tensor]:
        """Return the refined logit, if there is a refinement, and the coarse one, at half resolution."""
        coarse = self.coarse_head(fused)
        return [coarse] if self.refinement is None else [self.refinement(fused, coarse), coarse]


class MHD(nn.Module):
    """Multi-hierarchical dilation (eqs. 5 to 9): four groups of channels, of which three see ever wider surroundings, one after another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        group = channels // 4
        self.narrow = nn.ModuleList(_conv_norm(group, group, 1) for _ in range(4))
        self.wide = nn.ModuleList(_conv_norm(group, group, 3, dilation) for dilation in (1, 2, 3))
        self.mix = _conv_norm(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, h, w) to the same shape."""
        *groups, last = (part(group) for part, group in zip(self.narrow, x.chunk(4, 1), strict=True))
        seen: list[Tensor] = []
        for part, group in zip(self.wide, groups, strict=True):
            seen.append(part(group + seen[-1] if seen else group))
        out: Tensor = self.mix(torch.cat([*seen, last], 1))
        return out


class BFA(nn.Module):
    """Boundary-feature attention (eqs. 10 and 11): how far a voxel lies below the highest around it, at two granularities, as a gate."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(len(GRANULARITIES) * channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, h, w) to gates (batch, outputs, h, w) from 0 to 1."""
        edges = [x - max_pool2d(x, size, stride=1, padding=size // 2) for size in GRANULARITIES]
        return torch.sigmoid(self.weigh(torch.cat(edges, 1)))


class UpBlock(nn.Module):
    """Bilinear x 2, the skip beside it, two convolutions, and 1 + the gate of BFA if there is one."""

    def __init__(self, inputs: int, skip: int, outputs: int, bfa: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(_conv_norm(inputs + skip, outputs, 3), _conv_norm(outputs, outputs, 3))
        self.gate = BFA(skip, outputs) if bfa else None

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Fuse x (batch, inputs, h, w) with skip (batch, skip, 2 h, 2 w)."""
        out: Tensor = self.block(torch.cat([_enlarged(x), skip], 1))
        return out if self.gate is None else out * (1 + self.gate(skip))


class Fusion(nn.Module):
    """Brings every level of the decoder to half resolution and one number of channels, and fuses them."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.level = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.fuse = _conv_norm(len(channels) * width, width, 3)

    def forward(self, decoded: Sequence[Tensor]) -> Tensor:
        """Map the levels, deepest first, to (batch, width, H / 2, W / 2)."""
        size = decoded[-1].shape[2:]
        levels = [interpolate(part(x), size, mode="bilinear", align_corners=False) for part, x in zip(self.level, decoded, strict=True)]
        fused: Tensor = self.fuse(torch.cat(levels, 1))
        return fused


def _conv_norm(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _enlarged(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
