"""Codebook: what a fit leaves behind, in a fixed order and named by a hash. Files are safetensors with a JSON card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from napari_breastseg.errors import ModelError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.kinetics.clustering.grid import NODES, Array
from napari_breastseg.kinetics.clustering.vqvae import FEATURES, WIDTH

_LAYERS = ((WIDTH, 2 * len(NODES)), (WIDTH, WIDTH), (FEATURES, WIDTH))


@dataclass(frozen=True)
class Codebook:
    """Clusters of curves.

    Parameters
    ----------
    layers : tuple of (ndarray, ndarray)
        Weight (out, in) and bias (out,) of the encoder's three layers, float32; a ReLU follows all but the last.
    centroids : ndarray, shape (cluster, 8), float32
        In :func:`canonical_order`. Cluster ``k`` has the label ``k + 1``.
    decoded : ndarray, shape (cluster, node), float32
        The curve of each centroid, at the nodes that the curves of the fit reached.
    card : mapping
        JSON-ready: how it was fitted and what came out.
    """

    layers: tuple[tuple[Array, Array], ...]
    centroids: Array
    decoded: Array
    card: Mapping[str, Any]

    @property
    def clusters(self) -> int:
        """Number of clusters K."""
        return len(self.centroids)

    @property
    def reach(self) -> int:
        """How many nodes the curves of the fit reached; the encoder knows nothing of later ones."""
        return int(self.decoded.shape[1])

    @property
    def non_enhancing(self) -> int:
        """The label K + 1 of breast voxels without a curve."""
        return self.clusters + 1

    @property
    def flattest(self) -> int:
        """Label of the cluster whose curve has the smallest range."""
        extent: Array = self.decoded.max(axis=1) - self.decoded.min(axis=1)
        return 1 + int(np.argmin(extent))

    @cached_property
    def sha(self) -> str:
        """Hash (sha256) of weights, centroids and their order; later stages store it and refuse labels of another codebook."""
        return hashlib.sha256(safetensors.numpy.save(self._tensors())).hexdigest()

    def _tensors(self) -> dict[str, Array]:
        tensors = {"centroids": self.centroids, "decoded": self.decoded}
        for i, (weight, bias) in enumerate(self.layers):
            tensors |= {f"encoder.{i}.weight": weight, f"encoder.{i}.bias": bias}
        return tensors


def canonical_order(decoded: Array) -> npt.NDArray[np.intp]:
    """Order clusters by their curves, shape (cluster, node): from slow to fast uptake, then from persistent to wash-out.

    Uptake is the rise to the first node after the injection; wash-out is what is lost from the greatest to the last node.
    """
    return np.lexsort((decoded.max(axis=1) - decoded[:, -1], decoded[:, 1] - decoded[:, 0]))


def save_codebook(codebook: Codebook, folder: Path, name: str | None = None) -> Path:
    """Write weights and card beside each other and return the path of the weights.

    Parameters
    ----------
    codebook : Codebook
    folder : Path
    name : str, optional
        File name without suffix; the hash if not given.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or codebook.sha}.safetensors"
    card = {**codebook.card, "sha256": codebook.sha}
    write_atomically(path.with_suffix(".json"), json.dumps(card, indent=2, sort_keys=True).encode())
    write_atomically(path, safetensors.numpy.save(codebook._tensors()))
    return path


def load_codebook(path: Path) -> Codebook:
    """Read a codebook that :func:`save_codebook` wrote; its card is the JSON file of the same name.

    Raises
    ------
    ModelError
        If a file is missing, damaged or no codebook, or the weights are not those of the card.
    """
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        layers = tuple((tensors[f"encoder.{i}.weight"], tensors[f"encoder.{i}.bias"]) for i in range(len(_LAYERS)))
        codebook = Codebook(layers, tensors["centroids"], tensors["decoded"], card)
        said = card["sha256"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The codebook {path.name} or its card is missing or damaged. Get both files again.") from error
    if not _fits(codebook):
        raise ModelError(f"{path.name} is no codebook of this version of the program. Fit it again.")
    if codebook.sha != said:
        raise ModelError(f"The codebook {path.name} is not the one that its card describes. Get both files again.")
    return codebook


def _fits(codebook: Codebook) -> bool:
    shapes = all((w.shape, b.shape) == (shape, shape[:1]) for (w, b), shape in zip(codebook.layers, _LAYERS, strict=True))
    centroids, decoded = codebook.centroids, codebook.decoded
    tables = centroids.ndim == decoded.ndim == 2 and centroids.shape[1] == FEATURES and len(centroids) == len(decoded)
    return shapes and tables and 2 < decoded.shape[1] <= len(NODES) and all(np.isfinite(t).all() for t in codebook._tensors().values())
