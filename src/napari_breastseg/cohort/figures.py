"""How much tumour a mask shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Case


def tumour_figures(mask: npt.NDArray[np.uint8], case: Case) -> dict[str, Any]:
    """Return voxels and mL of all tumour in a mask of shape (z, y, x), number of its parts (26 neighbours), and mL of the largest.

    The mL are None for an ultrasound image, whose scale is unknown.
    """
    labels, _ = ndimage.label(mask == TUMOUR, np.ones((3, 3, 3)))
    sizes: list[int] = np.bincount(labels.ravel())[1:].tolist()
    return {
        "tumour_voxels": sum(sizes),
        "tumour_ml": _millilitres(sum(sizes), case),
        "parts": len(sizes),
        "largest_ml": _millilitres(max(sizes, default=0), case),
    }


def _millilitres(voxels: int, case: Case) -> float | None:
    return None if case.modality == "ultrasound" else round(voxels * case.geometry.voxel_ml, 3)
