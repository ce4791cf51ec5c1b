"""The codebook that ships with the package."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from napari_breastseg.kinetics.clustering.codebook import Codebook, load_codebook

NAME = "curve-clusters"


@lru_cache(maxsize=1)
def starter_codebook() -> Codebook:
    """Return ten clusters of the curves of synthetic examinations; what they were fitted to stands in their card.

    Raises
    ------
    ModelError
        If the installation is damaged.
    """
    return load_codebook(Path(str(resources.files("napari_breastseg"))) / "weights" / f"{NAME}.safetensors")
