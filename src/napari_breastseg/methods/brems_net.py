"""BReMS-Net (boundary refinement over MBA-Net) for masses in mammograms: coarse, then refined."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor

from napari_breastseg.losses.aw_loss import aw_loss
from napari_breastseg.methods.exemplars import mammogram
from napari_breastseg.methods.preset import Preset
from napari_breastseg.methods.pretrained import resnet_name
from napari_breastseg.networks.brems_net import COMPACT, HEADS, BReMSNet
from napari_breastseg.networks.macs import image_macs
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.preprocess.mammogram import equalised

SIDE = 512


def heads_loss(network: SegmentationNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """AW-loss over the five heads at full resolution (eqs. 12 to 15), and the fused features."""
    answers = cast(BReMSNet, network).every_answer(network.encode(images))
    h, w = labels.shape[-2:]
    shown = {name: planes[..., :h, :w] for name, planes in answers.items()}
    return aw_loss([shown[name] for name in HEADS if name in shown], labels), shown["features"][:, :, None]


def _preset(name: str, network: Any, about: str, **more: Any) -> Preset:
    return Preset(
        name=f"brems-net/{name}", channels=1, patch=(1, SIDE, SIDE), spacing=(1.0, 1.0, 1.0), side=SIDE, network=network, inputs=equalised,
        about=about, modality="mammography", loss=heads_loss, exemplar=mammogram, macs=partial(image_macs, network), **more,
    )  # fmt: skip


_IMAGENET: dict[str, Any] = {"encoder": "ResNet-50", "encoder_names": resnet_name}
_ABLATIONS = {
    "baseline": ((False, False, False), "ResNet-50 and the decoder."),
    "mhd": ((True, False, False), "With MHD."),
    "bfa": ((False, True, False), "With BFA."),
    "mba": ((True, True, False), "With MHD and BFA: MBA-Net, without refinement."),
}

PRESETS = [
    _preset("compact", partial(BReMSNet, sizes=COMPACT), "ResNet-18 at three eighths of the widths, for laptops. The default."),
    _preset("paper", BReMSNet, "As published, as far as the paper says.", **_IMAGENET),
    *(
        _preset(name, partial(BReMSNet, *parts), f"Ablation of Table 3. {about}", **_IMAGENET)
        for name, (parts, about) in _ABLATIONS.items()
    ),
]  # fmt: skip
