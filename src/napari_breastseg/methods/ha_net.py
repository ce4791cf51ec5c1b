"""HA-Net (hybrid attention network) for lesions in breast ultrasound."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from napari_breastseg.losses.overlap import cross_entropy, jaccard_loss
from napari_breastseg.methods.preset import Preset
from napari_breastseg.methods.pretrained import densenet_name
from napari_breastseg.networks.ha_net import HANet
from napari_breastseg.networks.macs import image_macs
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.unet import UNet
from napari_breastseg.preprocess.intensity import grey_levels

SIDE = 256


def entropy_and_jaccard(network: SegmentationNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy plus Jaccard loss (eqs. 11 to 13), the mean over pixels and over images."""
    features, logits = network.features(network.encode(images), images.shape[2:])
    return cross_entropy(logits, labels) + jaccard_loss(logits, labels), features


def _preset(name: str, network: Any, about: str, **more: Any) -> Preset:
    return Preset(
        name=f"ha-net/{name}", channels=1, patch=(1, SIDE, SIDE), spacing=(1.0, 2.0, 2.0), side=SIDE, network=network, inputs=grey_levels,
        about=about, modality="ultrasound", loss=entropy_and_jaccard, macs=partial(image_macs, network),
        pace=0.25, **more,
    )  # fmt: skip


_IMAGENET: dict[str, Any] = {"encoder": "DenseNet-121", "encoder_names": densenet_name}
_ABLATIONS = {
    "baseline": ((False, False, False), 10_498_945, "DenseNet-121 and a plain decoder."),
    "conv-block": ((True, False, False), 11_089_537, "With the ConvBlock behind the encoder."),
    "sfeb": ((True, True, False), 15_339_329, "With SFEB, too."),
}
COMPACT: dict[str, Any] = {"growth": 16, "initial": 32, "widths": (128, 64, 32, 24, 16), "sfeb_kernel": 1, "mix": False}

PRESETS = [
    _preset("compact", partial(HANet, **COMPACT), "Half the channels, without weights that never count. The default."),
    _preset("paper", HANet, "As published.", figures={"parameters": 15_427_713, "gmacs": 8.01}, **_IMAGENET),
    _preset(
        "lean", partial(HANet, sfeb_kernel=1, mix=False), "The published function without the weights that never count and the matrix "
        "between tokens.", **_IMAGENET,
    ),
    _preset("channel", partial(HANet, tsa="channel"), "Attention between channels, as the equations have it.", **_IMAGENET),
    *(
        _preset(name, partial(HANet, *parts), f"Ablation of Table 3. {about}", figures={"parameters": count}, **_IMAGENET)
        for name, (parts, count, about) in _ABLATIONS.items()
    ),
    _preset("unet", UNet, "The U-Net that the paper compares with.", figures={"parameters": 34_513_345}),
]  # fmt: skip
