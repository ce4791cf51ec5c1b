"""Windows behind a frozen encoder: what a decoder learns from, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_breastseg.networks.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class Encoded:
    """One window as its encoder left it.

    Attributes
    ----------
    features : list of Tensor
    size : sequence of int
        Voxels (z, y, x) of the window.
    """

    features: list[Tensor]
    size: Sequence[int]

    def logits(self, network: SegmentationNetwork) -> Tensor:
        """Decode; return the logits (1, 2, z, y, x)."""
        return network.decode(self.features, self.size)

    def probability(self, network: SegmentationNetwork) -> npt.NDArray[np.float32]:
        """Decode without gradients; return the probability of tumour, (z, y, x)."""
        with torch.no_grad():
            result: npt.NDArray[np.float32] = torch.sigmoid(log_odds(self.logits(network)))[0].cpu().numpy()
        return result


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds of tumour, (batch, z, y, x), of logits (batch, 2, z, y, x)."""
    return logits[:, 1] - logits[:, 0]


def encode(network: SegmentationNetwork, image: npt.NDArray[np.float32], device: torch.device) -> Encoded:
    """Encode one window of shape (channel, z, y, x)."""
    with torch.no_grad():
        return Encoded(network.encode(torch.from_numpy(np.ascontiguousarray(image))[None].to(device)), image.shape[1:])
