"""The cluster of a curve, by the codebook's encoder folded into three small matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_breastseg.kinetics.clustering.codebook import Codebook
from napari_breastseg.kinetics.clustering.grid import NODES, Array, grid_of
from napari_breastseg.kinetics.clustering.threads import one_thread


@dataclass(frozen=True)
class Labeller:
    """A codebook made ready for one protocol.

    The mask is the same for all voxels and becomes part of the first bias; the resampling to the nodes is linear and becomes part of the
    first weights; the centroids become part of the last ones, since ``|z - c|^2 = |z|^2 - 2 c (W h + b) + |c|^2``.

    Attributes
    ----------
    weights, biases : tuple of Tensor
        Of three layers, from phases to 64 to 64 to the distance from each cluster, up to what all clusters share.
    """

    weights: tuple[Tensor, Tensor, Tensor]
    biases: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, codebook: Codebook, seconds: tuple[float, ...]) -> Labeller:
        """Fold a codebook for phases taken at `seconds` after the injection.

        Raises
        ------
        InputError
            If the times cannot be used.
        """
        grid = grid_of(seconds, codebook.reach)
        (first, bias), (second, middle), (third, last) = (tuple(part.astype(np.float64) for part in pair) for pair in codebook.layers)
        centroids = codebook.centroids.astype(np.float64)
        values, masks = first[:, : len(NODES)], first[:, len(NODES) :]
        weights = values @ grid.matrix.T, second, -2 * centroids @ third
        biases = bias + masks @ grid.mask, middle, (centroids**2).sum(1) - 2 * centroids @ last
        w1, w2, w3 = (torch.from_numpy(w).float() for w in weights)
        b1, b2, b3 = (torch.from_numpy(b).float()[:, None] for b in biases)
        return cls((w1, w2, w3), (b1, b2, b3))

    def label(self, values: Array) -> npt.NDArray[np.uint8]:
        """Return the cluster, from 1 on, of normalised curves, shape (phase, voxel)."""
        (w1, w2, w3), (b1, b2, b3) = self.weights, self.biases
        with torch.inference_mode(), one_thread():
            hidden = torch.addmm(b1, w1, torch.from_numpy(values)).relu_()
            hidden = torch.addmm(b2, w2, hidden).relu_()
            labels: npt.NDArray[np.uint8] = torch.addmm(b3, w3, hidden).argmin(0).numpy().astype(np.uint8)
        return labels + np.uint8(1)
