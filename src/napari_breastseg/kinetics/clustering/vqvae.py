"""The networks of HCNet's first stage: a curve to eight features and back, and what they learn from."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from napari_breastseg.kinetics.clustering.grid import NODES

Objective: TypeAlias = Literal["ema", "standard", "paper"]
OBJECTIVES: tuple[Objective, ...] = ("ema", "standard", "paper")
WIDTH, FEATURES = 64, 8


class CurveAutoencoder(nn.Module):
    """Encoder and decoder: perceptrons with two hidden layers of 64; the encoder is given the nodes of a curve and which are masked."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _perceptron(2 * len(NODES), FEATURES)
        self.decoder = _perceptron(FEATURES, len(NODES))

    def encode(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Encode curves, shape (voxel, node), with their masks, the same shape; (voxel, 8)."""
        encoded: Tensor = self.encoder(torch.cat([nodes * mask, mask], 1))
        return encoded

    def decode(self, features: Tensor) -> Tensor:
        """Decode features, shape (voxel, 8), to curves at all nodes."""
        decoded: Tensor = self.decoder(features)
        return decoded


def reconstruction_error(decoded: Tensor, nodes: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the nodes that are not masked."""
    return ((decoded - nodes).square() * mask).sum() / mask.sum()


def code_loss(objective: Objective, encoded: Tensor, code: Tensor, weight: float) -> Tensor:
    """What is added to the reconstruction error for encodings z and the codes c that they chose, both (voxel, 8); sg stops the gradient.

    "standard" is ``|sg[z] - c|^2 + weight |z - sg[c]|^2`` (van den Oord et al. 2017, eq. 3). "ema" has the second term alone, since
    moving averages replace the first. "paper" is ``weight |sg[z] - c|^2``, HCNet's eq. 1 as printed: the codebook's term with the weight
    of the commitment term, which is missing, so that nothing keeps the encodings near the codes. A negative control.
    """
    if objective == "paper":
        return weight * mse_loss(code, encoded.detach())
    commitment = weight * mse_loss(encoded, code.detach())
    return commitment if objective == "ema" else commitment + mse_loss(code, encoded.detach())


def straight_through(encoded: Tensor, code: Tensor) -> Tensor:
    """Return the codes, with the gradient of the encodings."""
    return encoded + (code - encoded).detach()


def _perceptron(given: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, wanted))
