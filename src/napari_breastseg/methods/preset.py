"""What every method says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_breastseg.case import Case, Modality
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.networks.guided import GuidedNetwork
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.preprocess.intensity import Inputs
from napari_breastseg.preprocess.overview import Overview

GUIDED = "+guided"
"""What the name of any preset may end with."""
Loss: TypeAlias = Callable[[SegmentationNetwork, Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy_and_dice(network: SegmentationNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy plus Dice, which is what methods are trained with unless their papers say otherwise."""
    features, logits = network.features(network.encode(images), images.shape[2:])
    return partial_ce_dice(logits, labels), features


@dataclass(frozen=True)
class Preset:
    """One way to build and feed a published method.

    Parameters
    ----------
    name : str
        ``method/preset``.
    channels : int
        Input channels of the network.
    patch : tuple of int
        Window (z, y, x) in voxels in training and when learning.
    spacing : tuple of float
        Working grid, mm (z, y, x).
    side : int
        Pixels of the longer side of an image on the working grid, since image files do not tell their scale; 0 if the spacing counts.
    network : callable
        Builds the network with fresh weights: ``(batch, channels, D, H, W)`` to logits ``(batch, 2, D, H, W)``.
    inputs : callable
        What the network sees of a case, from an overview of it.
    about : str
        One sentence for people.
    figures : mapping
        What the paper publishes.
    window : tuple of int, optional
        Window (z, y, x) in voxels at inference, if larger: what is seen at once need not be cut up and looked at twice.
    overlap : float
        Smallest share of a window that its neighbour repeats.
    bytes_per_voxel : int
        Memory that the network works in, for each voxel of a window.
    macs : callable, optional
        Multiply-adds by part of one cubic patch whose edge is given.
    before_contrast : bool
        Whether it sees nothing but the phase before contrast.
    loss : callable
        What training from scratch minimises: network, images (batch, channel, D, H, W) and labels (batch, D, H, W) to the loss and the last
        features.
    parts : callable, optional
        Parameters of parts of the network that are published by themselves, by name.
    encoder : str
        Network whose ImageNet weights the encoder takes, for people; empty if it takes none.
    encoder_names : callable, optional
        What a tensor of such a file is called in the network, or None; see :mod:`napari_breastseg.methods.pretrained`.
    exemplar : callable, optional
        Makes a synthetic case of the base model's domain and its truth, from a seed and a shape (z, y, x): what learning from corrections
        replays. Without it only earlier cases are replayed.
    pace : float
        Learning rate when learning from corrections, relative to the one of the settings; measured where the decoder alone learns.
    """

    name: str
    channels: int
    patch: tuple[int, int, int]
    spacing: tuple[float, float, float]
    network: Callable[[], SegmentationNetwork]
    inputs: Callable[[Overview], Inputs]
    about: str
    modality: Modality = "dce-mri"
    side: int = 0
    window: tuple[int, int, int] | None = None
    overlap: float = 0.25
    bytes_per_voxel: int = 900
    figures: Mapping[str, Any] = field(default_factory=dict)
    before_contrast: bool = False
    loss: Loss = cross_entropy_and_dice
    parts: Callable[[], Mapping[str, int]] | None = None
    encoder: str = ""
    encoder_names: Callable[[str], str | None] | None = None
    macs: Callable[[int], Mapping[str, int]] | None = None
    exemplar: Callable[[int, tuple[int, int, int]], tuple[Case, npt.NDArray[np.uint8]]] | None = None
    pace: float = 1.0

    @property
    def method(self) -> str:
        """The method's name, without the preset."""
        return self.name.split("/")[0]

    def guided(self) -> Preset:
        """Return the preset with prediction-guided refinement upon its network's last features."""
        return replace(
            self,
            name=self.name + GUIDED,
            network=lambda: GuidedNetwork(self.network()),
            about=f"{self.about} With prediction-guided refinement upon it.",
            loss=cross_entropy_and_dice,
            macs=None,
            encoder="",
            encoder_names=None,
        )

    @property
    def flat(self) -> bool:
        """Whether it is made for images of one slice."""
        return self.patch[0] == 1

    def grid_spacing(self, case: Case) -> tuple[float, float, float]:
        """Return the spacing of a case's working grid, mm (z, y, x)."""
        if not self.side:
            return self.spacing
        z, *plane = case.geometry.spacing
        edge = max(n * s for n, s in zip(case.shape[1:], plane, strict=True)) / self.side
        return z, edge, edge

    def overview(self, case: Case) -> Overview:
        """Look at a case from afar, at nothing that the network may not see."""
        return Overview.of(case, 0 if self.before_contrast else None)

    def build(self) -> SegmentationNetwork:
        """Build the network with fresh weights."""
        return self.network()

    def parameters(self) -> int:
        """Count the network's parameters without allocating them."""
        with torch.device("meta"):
            return sum(p.numel() for p in self.network().parameters())
