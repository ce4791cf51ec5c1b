"""HCNet: from a T1 image without contrast, HIPM predicts how heterogeneous the uptake would be, and KIS-Net segments with that in mind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_breastseg.networks.kis_net import LABELS, WIDTHS, KISNet, Norm
from napari_breastseg.networks.uxnet import WIDTHS as HIPM_WIDTHS
from napari_breastseg.networks.uxnet import UXNet3D


class HCNet(KISNet):
    """KIS-Net that makes its map of heterogeneity itself, from the same image, by a HIPM that no longer learns.

    HIPM, a 3D UX-Net, is trained beforehand on the clusters of time-intensity curves. KIS-Net is best trained as
    :class:`~napari_breastseg.networks.kis_net.KISNet`, on maps of cases that HIPM has not seen: HIPM knows its training cases too well, and
    their maps would be trusted too much. Its parameters have the same names here.

    Parameters
    ----------
    labels : int
        11: ten clusters, and 0 for what is outside of the breast; 12 if what does not enhance has a label of its own.
    widths, norm, hint_dropout
        Those of :class:`~napari_breastseg.networks.kis_net.KISNet`.
    hipm_widths, hipm_hidden
        Those of :class:`~napari_breastseg.networks.uxnet.UXNet3D`.
    """

    frozen = ("hipm",)

    def __init__(
        self,
        labels: int = LABELS,
        widths: Sequence[int] = WIDTHS,
        norm: Norm = "batch",
        hint_dropout: float = 0.1,
        hipm_widths: Sequence[int] = HIPM_WIDTHS,
        hipm_hidden: int | None = None,
    ) -> None:
        super().__init__(labels, widths, norm, hint_dropout)
        self.hipm = UXNet3D(1, labels, hipm_widths, hipm_hidden).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> HCNet:
        """Go to training mode, all but HIPM."""
        super().train(mode)
        self.hipm.eval()
        return self

    def heterogeneity(self, x: Tensor) -> Tensor:
        """Return the probability of each label, (batch, label, D, H, W), float32, of x (batch, 1, D, H, W), without gradients."""
        with torch.no_grad():
            probability: Tensor = self.hipm(x).float().softmax(1)
        return probability

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features of x (batch, 1, D, H, W) and of HIPM's map of it."""
        return self.encode_with(x, self.heterogeneity(x))
