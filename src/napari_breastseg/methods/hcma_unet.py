"""HCMA-UNet (hybrid CNN-Mamba U-Net with axial attention) for tumours in DCE-MRI."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari_breastseg.methods.exemplars import two_phases
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.hcma_unet import HCMAUNet
from napari_breastseg.networks.macs import hcma_unet_macs
from napari_breastseg.networks.mixers import Mixer
from napari_breastseg.preprocess.intensity import grey_image, post_and_subtraction, post_contrast

_GRID: dict[str, Any] = {"patch": (64,) * 3, "window": (128,) * 3, "spacing": (1.5,) * 3, "exemplar": two_phases}
_ABLATIONS: dict[str, tuple[Mixer, float]] = {
    "baseline": ("none", 2.58),
    "vssb": ("vssb", 3.19),
    "vssb-asc": ("vssb+asc", 2.76),
    "vssb-asa": ("vssb+asa", 4.01),
    "mamba3d": ("mamba3d", 3.22),
}

_GFLOPS = (
    "126.44 is twice the multiply-adds of a counter that takes each transposed convolution over its output voxels, 8 times what it "
    "computes at stride 2 (26.3 GMAC more), counts bias, norm and activation, and leaves the scan out."
)


def _ablation_macs(mixer: Mixer, size: int) -> dict[str, int]:
    return hcma_unet_macs(mixer, size=size)


PRESETS = [
    Preset(
        name="hcma-unet/practical",
        channels=2,
        network=partial(HCMAUNet, in_channels=2),
        inputs=post_and_subtraction,
        about="First post-contrast phase and its subtraction: what a reader looks at. The default.",
        figures={"parameters_millions": 2.87},
        macs=lambda size: hcma_unet_macs(channels=2, size=size),
        **_GRID,
    ),
    Preset(
        name="hcma-unet/paper",
        channels=1,
        network=HCMAUNet,
        inputs=post_contrast,
        about="First post-contrast phase alone, as published.",
        figures={"parameters_millions": 2.87, "gflops": 126.44, "gflops_note": _GFLOPS},
        macs=lambda size: hcma_unet_macs(size=size),
        **_GRID,
    ),
    *(
        Preset(
            name=f"hcma-unet/{name}",
            channels=1,
            network=partial(HCMAUNet, mixer=mixer),
            inputs=post_contrast,
            about=f"Ablation of Table II: {mixer}.",
            figures={"parameters_millions": millions},
            macs=partial(_ablation_macs, mixer),
            **_GRID,
        )
        for name, (mixer, millions) in _ABLATIONS.items()
    ),
    Preset(
        name="hcma-unet/ultrasound",
        channels=1,
        patch=(1, 64, 64),
        # The scale of an image file is not known, so a pixel counts as 1 mm: 512 pixels make a window.
        spacing=(1.0, 8.0, 8.0),
        network=partial(HCMAUNet, flat=True, patch=64),
        inputs=grey_image,
        about="The network on one slice of ultrasound, to compare with HA-Net. No starter weights; train it on your own images.",
        modality="ultrasound",
    ),
]
