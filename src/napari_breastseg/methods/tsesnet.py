"""TSESNet (temporal-spatial enhanced segmentation) for tumours in 4-D DCE-MRI."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor

from napari_breastseg.losses.overlap import cross_entropy, dice_loss
from napari_breastseg.losses.tsc_loss import TSCLoss
from napari_breastseg.methods.exemplars import series
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.tsesnet import COMPACT_WIDTHS, TSESNet
from napari_breastseg.preprocess.intensity import all_phases, six_phases

DICE, CONTRAST = 0.7, 0.5
"""Weights of Dice and of TSCLoss (eq. 10)."""


def temporal_spatial_loss(
    network: SegmentationNetwork, images: Tensor, labels: Tensor, *, entropy: float = 0.0, contrast: float = CONTRAST
) -> tuple[Tensor, Tensor]:
    """Return 0.7 Dice + 0.5 TSCLoss (eq. 10), plus cross-entropy if asked for, and the last features."""
    four_d = cast(TSESNet, network)
    phases = four_d.phase_features(images)
    features, logits = four_d.features(four_d.fuse(phases), images.shape[2:])
    loss = DICE * dice_loss(logits, labels)
    if entropy:
        loss = loss + entropy * cross_entropy(logits, labels)
    if contrast:
        loss = loss + contrast * TSCLoss()(phases.levels, phases.laid_over(labels), phases.available)
    return loss, features


_SERIES: dict[str, Any] = {"channels": 12, "spacing": (1.5,) * 3, "exemplar": series, "bytes_per_voxel": 900}
_PAPER: dict[str, Any] = {**_SERIES, "inputs": six_phases, "patch": (48, 96, 96), "loss": temporal_spatial_loss}
_COMPACT: dict[str, Any] = {
    **_SERIES,
    "inputs": all_phases,
    "patch": (64, 64, 64),
    "window": (96, 96, 96),
    # Dice alone leaves patches without tumour to chance.
    "loss": partial(temporal_spatial_loss, entropy=1.0),
}
_VARIANTS: dict[str, tuple[dict[str, Any], dict[str, float], str]] = {
    "paper": ({"shared": False}, {"parameters_millions": 103.58, "gflops": 98.66}, "As published: own weights for each of five phases."),
    "shared": ({}, {}, "One set of weights for any number of phases."),
    "bottleneck": ({"fusion": "tsff-bottleneck"}, {"parameters_millions": 98.93, "gflops": 75.42}, "Attention at the deepest level only."),
    "cnn": ({"fusion": "cnn"}, {"parameters_millions": 101.16, "gflops": 72.32}, "Phases fused by a convolution."),
    "mean-pool": ({"fusion": "mean"}, {"parameters_millions": 98.31, "gflops": 67.42}, "Phases fused by their mean."),
    "channel": ({"tsff": "channel"}, {}, "Attention between channels, the matrix form of eq. 8."),
    "literal": ({"tsff": "literal"}, {}, "Eq. 8 to the letter: queries and keys from the first phase alone."),
}  # fmt: skip

PRESETS = [
    Preset(
        name="tsesnet/compact",
        network=partial(TSESNet, COMPACT_WIDTHS, ta="split", time_embedding=True),
        about="All phases and their times, for computers without a GPU. The default.",
        **_COMPACT,
    ),
    *(
        Preset(name=f"tsesnet/{name}", network=partial(TSESNet, **options), about=about, figures=figures, **_PAPER)
        for name, (options, figures, about) in _VARIANTS.items()
    ),
]
