"""TSESNet: a residual U-Net that sees all phases of a 4-D DCE-MRI examination, encodes each alike and fuses them at every level.

Layout from the paper; what it leaves open is chosen such that the published numbers of parameters hold within 1.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import InputError
from napari_breastseg.networks.ends import padded, two_logits
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.temporal import ATTENTIONS, TSFF, Attention, ConcatFusion, MeanFusion

Fusion: TypeAlias = Literal["tsff", "tsff-bottleneck", "mean", "cnn"]
FUSIONS: tuple[Fusion, ...] = ("tsff", "tsff-bottleneck", "mean", "cnn")
WIDTHS = (32, 64, 128, 256, 512)
COMPACT_WIDTHS = (24, 48, 64, 64, 72)
STRIDES = ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
"""Steps (z, y, x) into each level; the last keeps z, of which the published patches have half as much."""
DIVISORS = (16, 32, 32)
LEAST = (16, 64, 64)
"""Smallest size (z, y, x) that is computed: instance norm needs more than one voxel at the deepest level."""


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm beside one of 1 x 1 x 1; the first may have a stride."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1), nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01),
            nn.Conv3d(outputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs, affine=True),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride), nn.InstanceNorm3d(outputs, affine=True))
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, D, H, W) to (batch, outputs, D / stride, H / stride, W / stride)."""
        out: Tensor = self.act(self.main(x) + self.shortcut(x))
        return out


class TA(nn.Module):
    """Attention to scales (eqs. 1 to 5): a chain of kernels of edge 5, 3 and 1, each result weighed channel by channel.

    f_1 = x, f_2 = conv5(x), f_3 = conv3(x + f_2), f_4 = conv1(x + f_3), each with instance norm and leaky ReLU; the weights are
    ``sigmoid(W_2 relu(W_1 g))`` of the means g of all four. The output is their weighted sum.

    With `split`, for small machines, x is cut into four parts of c / 4 channels, one for each f, as 1 / 16 of the multiplications; the
    output is the weighted parts side by side.

    Parameters
    ----------
    channels : int
        A multiple of 4 if split.
    split : bool
    """

    def __init__(self, channels: int, split: bool = False) -> None:
        super().__init__()
        self.split = split
        branch, weights = (channels // 4, channels) if split else (channels, 4 * channels)
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Conv3d(branch, branch, edge, padding=edge // 2), nn.InstanceNorm3d(branch, affine=True), nn.LeakyReLU(0.01))
            for edge in (5, 3, 1)
        )
        self.weigh = nn.Sequential(nn.Linear(weights, weights), nn.ReLU(), nn.Linear(weights, weights), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, D, H, W) to the same shape."""
        first, *given = x.chunk(4, 1) if self.split else [x] * 4
        found = [first, self.scales[0](given[0])]
        for scale, own in zip(self.scales[1:], given[1:], strict=True):
            found.append(scale(own + found[-1]))
        wide = torch.cat(found, 1)
        weighed: Tensor = wide * self.weigh(wide.mean((2, 3, 4)))[..., None, None, None]
        return weighed if self.split else weighed.unflatten(1, (4, -1)).sum(1)


class UpBlock(nn.Module):
    """Transposed convolution by the stride, the skip beside it, residual block."""

    def __init__(self, low: int, high: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        z, y, x = stride
        self.up = nn.ConvTranspose3d(low, low, 3, stride, 1, (z - 1, y - 1, x - 1))
        self.block = ResidualBlock(low + high, high)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Fuse x (batch, low, ...) with skip (batch, high, ...) at the size of the skip."""
        out: Tensor = self.block(torch.cat([self.up(x), skip], 1))
        return out


@dataclass(frozen=True)
class Phases:
    """What the encoder makes of the phases, before they are fused.

    Attributes
    ----------
    levels : list of Tensor
        Features of each level, finest first, shape (batch, phase, channel, d, h, w).
    minutes : Tensor, shape (batch, phase)
        After the injection; negative where a case lacks the phase.
    slots : tuple of int
        Which slot of the input each phase is; slots that the whole batch lacks are left out.
    size : tuple of int
        Voxels (D, H, W) that the levels cover: those of the input, padded.
    """

    levels: list[Tensor]
    minutes: Tensor
    slots: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def available(self) -> Tensor:
        """Whether a case has the phase, shape (batch, phase)."""
        return self.minutes >= 0

    def laid_over(self, labels: Tensor) -> Tensor:
        """Return labels (batch, D, H, W) of the input as labels of all that the levels cover: 255, not decided, where it was padded."""
        margins = [m for own, whole in zip(reversed(labels.shape[1:]), reversed(self.size), strict=True) for m in (0, whole - own)]
        return pad(labels, margins, value=UNDECIDED)


class TSESNet(SegmentationNetwork):
    """TSESNet and the variants of its table.

    The input has a pair of channels for each phase, (batch, 2 P, D, H, W): the image, and a plane that holds, everywhere alike, the minutes
    after the injection, 0 for the phase before contrast, which is pair 0 and always there, and -1 for a phase that is missing. P may be
    any number unless the weights are tied to slots. Without a phase after contrast the fused features are those of phase 0, or what the
    convolution makes of them for "cnn".

    Any size is taken: the input is padded to a multiple of 16 (D) and 32 (H, W), at least 16 x 64 x 64, by replication, and the outputs
    are cropped.

    Parameters
    ----------
    widths : sequence of int
        Channels of the five levels; the published ones by default, :data:`COMPACT_WIDTHS` for small machines.
    fusion : str
        "tsff" at every level, "tsff-bottleneck" at the deepest only and the mean at the others, or "mean" or "cnn" at every level.
    tsff : str
        Which attention; see :class:`~napari_breastseg.networks.temporal.TSFF`.
    shared : bool
        One W for all phases, or one for each of the slots after the first, as the published count has it.
    ta : str
        "full" as published, or "split", see :class:`TA`, or "none", the ablation. The first level never has it: the published figures
        cannot hold its cost.
    slots : int
        Phases in all for "cnn" and for weights that are not shared.
    time_embedding : bool
        Tell TSFF the times of the phases; see :class:`~napari_breastseg.networks.temporal.TimeEmbedding`. Not published.

    Raises
    ------
    InputError
        If there is no such variant.
    """

    decoding = ("decoder", "head")

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        fusion: Fusion = "tsff",
        tsff: Attention = "temporal",
        shared: bool = True,
        ta: Literal["full", "split", "none"] = "full",
        slots: int = 6,
        time_embedding: bool = False,
    ) -> None:
        super().__init__()
        _check(fusion, tsff, ta)
        self.width = widths[0]
        self.encoder = nn.ModuleList([ResidualBlock(1, widths[0], 2)])
        for (low, high), stride in zip(pairwise(widths), STRIDES[1:], strict=True):
            attention = nn.Identity() if ta == "none" else TA(high, ta == "split")
            self.encoder.append(nn.Sequential(nn.MaxPool3d(stride), ResidualBlock(low, high), attention))
        shallow: Fusion = "mean" if fusion == "tsff-bottleneck" else fusion
        deep: Fusion = "tsff" if fusion == "tsff-bottleneck" else fusion
        own = 0 if shared else slots - 1
        self.fusions = nn.ModuleList(
            ConcatFusion(width, slots) if kind == "cnn" else MeanFusion() if kind == "mean" else TSFF(width, tsff, own, time_embedding)
            for kind, width in zip([*[shallow] * (len(widths) - 1), deep], widths, strict=True)
        )
        steps = zip(reversed(list(pairwise(widths))), reversed(STRIDES[1:]), strict=True)
        self.decoder = nn.ModuleList(UpBlock(low, high, stride) for (high, low), stride in steps)
        self.head = nn.Conv3d(widths[0], 1, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the fused features of the levels, finest first, of x (batch, 2 P, D, H, W)."""
        return self.fuse(self.phase_features(x))

    def phase_features(self, x: Tensor) -> Phases:
        """Return the features of each phase of x (batch, 2 P, D, H, W) before fusion: what TSCLoss compares.

        Phases are encoded together in training, one after another in evaluation, which needs less memory.
        """
        # Read in the middle: at the edge of an examination a patch may be padded with other values.
        minutes = x[:, 1::2, x.shape[2] // 2, x.shape[3] // 2, x.shape[4] // 2].float()
        slots = [0, *(i for i, there in enumerate((minutes >= 0).any(0).tolist()) if there and i > 0)]
        minutes = torch.cat([torch.zeros_like(minutes[:, :1]), minutes[:, slots[1:]]], 1)
        images = padded(x[:, [2 * slot for slot in slots]], DIVISORS, LEAST)
        if self.training:
            levels = [level.unflatten(0, images.shape[:2]) for level in self._levels(images.flatten(0, 1)[:, None])]
        else:
            each = [self._levels(images[:, i, None]) for i in range(len(slots))]
            levels = [torch.stack(level, 1) for level in zip(*each, strict=True)]
        return Phases(levels, minutes, tuple(slots), tuple(images.shape[2:]))

    def fuse(self, phases: Phases) -> list[Tensor]:
        """Return what :meth:`encode` returns, of features that are there already."""
        return [fusion(z, phases.minutes, phases.slots) for fusion, z in zip(self.fusions, phases.levels, strict=True)]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, D, H, W)."""
        # Enlarging one logit instead of all features is the same, for both are linear and its weights add up to 1.
        return two_logits(crop(_doubled(self.head(self._decoded(encoded))), size))

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, D, H, W) and the logits (batch, 2, D, H, W)."""
        features = crop(_doubled(self._decoded(encoded)), size)
        return features, two_logits(self.head(features))

    def _levels(self, images: Tensor) -> list[Tensor]:
        levels = []
        for stage in self.encoder:
            images = stage(images)
            levels.append(images)
        return levels

    def _decoded(self, encoded: Sequence[Tensor]) -> Tensor:
        *skips, x = encoded
        for up in self.decoder:
            x = cast(UpBlock, up)(x, skips.pop())
        return x


def _doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="trilinear")


def _check(fusion: str, tsff: str, ta: str) -> None:
    for given, known in ((fusion, FUSIONS), (tsff, ATTENTIONS), (ta, ("full", "split", "none"))):
        if given not in known:
            raise InputError(f"TSESNet has no variant {given!r}. Choose from {', '.join(known)}.")
