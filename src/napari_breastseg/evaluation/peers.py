"""The networks of the papers' tables that MONAI provides, in the two halves that training, prediction and FRLoss expect."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets import AttentionUnet, DynUNet, SwinUNETR
from monai.networks.nets.mednext import create_mednext
from torch import Tensor, nn
from torch.nn.functional import pad

from napari_breastseg.networks.flat import FlatNetwork
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import Part, SegmentationNetwork
from napari_breastseg.networks.unet import WIDTHS as UNET_WIDTHS

NNUNET_FILTERS = (32, 64, 128, 256, 320, 320)


class Peer(SegmentationNetwork):
    """A network whose last layer is one linear map of its features at full resolution.

    Any size is taken: the input is padded by replication to a multiple of the divisor, at least twice of it, because instance norm
    cannot train on a single voxel; the outputs are cropped.

    Parameters
    ----------
    body : nn.Module
        Up to the input of the last layer, at the size of its own input.
    head : nn.Module
        The last layer, 1 x 1 x 1.
    divisor : int
        By which the body reduces the size.
    """

    decoding = ("head",)

    def __init__(self, body: nn.Module, head: nn.Module, divisor: int) -> None:
        super().__init__()
        self.body, self.head, self.divisor = body, head, divisor
        self.width = next(head.parameters()).shape[1]  # of the last layer's weights

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features (batch, feature, D, H, W) at the padded size."""
        d = self.divisor
        margins = [m for s in reversed(x.shape[2:]) for m in (0, max(2 * d, math.ceil(s / d) * d) - s)]
        return [self.body(pad(x, margins, mode="replicate") if any(margins) else x)]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the features (batch, feature, D, H, W) before the last layer, and the logits."""
        features = crop(encoded[0], size)
        return features, self.head(features)

    def parts(self) -> list[nn.Module]:
        """Return no part: padding and shifted windows depend on the size, which a compiled graph would take for granted."""
        return []

    def assemble(self, parts: Sequence[Part], x: Tensor) -> Tensor:
        """Return the logits (batch, classes, D, H, W) of torch."""
        logits: Tensor = self(x)
        return logits


class FlatAttentionUNet(FlatNetwork):
    """MONAI's AttentionUnet with the widths of the U-Net."""

    decoding = ("body", "head")

    def __init__(self, widths: Sequence[int] = UNET_WIDTHS) -> None:
        super().__init__()
        self.width = widths[0]
        self.body = AttentionUnet(2, 1, widths[0], widths, [2] * (len(widths) - 1))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def entrances(self) -> list[nn.Module]:
        """Return what hands the image on."""
        return [nn.Identity()]

    def answer(self, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, H, W) and the logit (batch, 1, H, W)."""
        features = self.body(encoded[0])
        return features, self.head(features)


def nnunet(in_channels: int = 1, classes: int = 2) -> Peer:
    """MONAI's DynUNet with the plan that nnU-Net makes for a 3-D patch of 128 voxels, without deep supervision."""
    net = DynUNet(
        3, in_channels, classes, kernel_size=[3] * 6, strides=[1, 2, 2, 2, 2, 2], upsample_kernel_size=[2] * 5, filters=NNUNET_FILTERS
    )
    # The layers are also listed in other attributes; the recursion alone is the network, and holds each of them once.
    return Peer(net.skip_layers, net.output_block, 32)


def swin_unetr_v2(in_channels: int = 1, classes: int = 2) -> Peer:
    """MONAI's SwinUNETR with the convolutions of version 2, feature size 24."""
    with torch.device("cpu"):  # it reads numbers from tensors while it is built, so its parameters cannot be counted without memory
        net = SwinUNETR(in_channels, classes, feature_size=24, use_v2=True)
    for module in net.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if not torch.is_floating_point(buffer):  # a fixed table of indices is no weight
                module.register_buffer(name, buffer, persistent=False)
    return Peer(net, _take(net, "out"), 32)


def mednext(in_channels: int = 1, classes: int = 2) -> Peer:
    """MONAI's MedNeXt, variant S with kernels of 3 voxels."""
    net = create_mednext("S", in_channels=in_channels, out_channels=classes, kernel_size=3)
    return Peer(net, _take(net, "out_0"), 16)


def _take(net: nn.Module, name: str) -> nn.Module:
    """Take the last layer out of a network, which then returns that layer's input."""
    head = net.get_submodule(name)
    setattr(net, name, nn.Identity())
    return head
