"""The napari writer for the tumour mask and the maps that are labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import TUMOUR, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io import write_mask


def write_tumour(path: str, data: npt.NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as a NIfTI mask with the affine, axes and shape of the file that its examination came from.

    The numbers of the places on the layer Hard negatives are kept; of the others only the tumour is written, as 1.

    Raises
    ------
    InputError
        If the layer does not belong to an examination of this plugin, or has another shape than it.
    """
    geometry = attributes.get("metadata", {}).get("breastseg_geometry")
    if not isinstance(geometry, Geometry):
        raise InputError(
            "This layer belongs to no breast examination, so its original grid is not known. "
            "Save the layer 'Tumour' of the Breast segmentation dock, or save this one in another format."
        )
    values = np.asarray(data)
    numbered = attributes["metadata"].get("breastseg_role") == "hardest"
    write_mask(values if numbered else values == TUMOUR, geometry, Path(path))
    return [path]
