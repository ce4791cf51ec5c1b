"""HCNet: tumours in non-contrast T1, led by the heterogeneity of contrast uptake that a network predicts from the same image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from napari_breastseg.losses.overlap import cross_entropy, dice_loss
from napari_breastseg.methods.exemplars import series
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.networks.kis_net import COMPACT_WIDTHS, KISNet, ResUNet
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.uxnet import COMPACT_WIDTHS as COMPACT_HIPM
from napari_breastseg.networks.uxnet import UXNet3D
from napari_breastseg.preprocess.intensity import before_and_after, before_contrast

ENTROPY = 5.0
"""Weight of cross-entropy beside Dice (eq. 5)."""


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice + 5 cross-entropy (eq. 5) of logits (batch, 2, D, H, W) and labels (batch, D, H, W)."""
    return dice_loss(logits, labels) + ENTROPY * cross_entropy(logits, labels)


def _loss(network: SegmentationNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    features, logits = network.features(network.encode(images), images.shape[2:])
    return segmentation_loss(logits, labels), features


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _parts() -> Mapping[str, int]:
    """Count what the papers count, without allocating it."""
    with torch.device("meta"):
        parts = {
            "3D UX-Net with 14 classes": UXNet3D(classes=14),
            "HIPM, 3D UX-Net with 11 classes": UXNet3D(1, 11),
            "KIS-Net": KISNet(),
            "ResUNet": ResUNet(),
        }
    return {name: _count(part) for name, part in parts.items()}


_GRID: dict[str, Any] = {
    "patch": (64,) * 3,
    "spacing": (1.5,) * 3,
    "exemplar": series,
    "loss": _loss,
}
_BEFORE: dict[str, Any] = {**_GRID, "channels": 1, "inputs": before_contrast, "before_contrast": True, "modality": "mri"}
_COMPACT: dict[str, Any] = {"widths": COMPACT_WIDTHS, "norm": "instance"}

PRESETS = [
    Preset(
        name="hcnet/compact",
        network=partial(HCNet, hipm_widths=COMPACT_HIPM, hipm_hidden=2 * COMPACT_HIPM[-1], **_COMPACT),
        about="From the image before contrast alone, for computers without a GPU. The default.",
        **_BEFORE,
    ),
    Preset(
        name="hcnet/paper",
        network=HCNet,
        about="From the image before contrast alone, as published.",
        figures={"hipm_parameters_millions": 53.0, "dice": 0.607},
        parts=_parts,
        **_BEFORE,
    ),
    Preset(
        name="hcnet/resunet",
        network=ResUNet,
        about="The paper's control: the same segmentation without predicted clusters.",
        **_BEFORE,
    ),
    Preset(
        name="hcnet/resunet-post",
        channels=2,
        network=partial(ResUNet, 2),
        inputs=before_and_after,
        about="The paper's other control, which also sees the first post-contrast phase.",
        **_GRID,
    ),
]
