"""Size of the tumour in a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from napari_breastseg.case import TUMOUR, Case, Geometry

Mask = npt.NDArray[np.bool_]


def tumour_figures(mask: npt.NDArray[np.uint8], case: Case) -> dict[str, Any]:
    """Return how much tumour a mask of shape (z, y, x) shows.

    Returns
    -------
    dict
        JSON-ready. "tumour_voxels", of its "parts" (26 neighbours) "largest_voxels", and "longest", the longest diameter of a part within
        a slice in "unit", which is "mm", or "pixels" where the scale of an image is unknown. Of a volume also "tumour_ml" and "largest_ml",
        of an image of known scale "tumour_mm2" and "largest_mm2"; the others are None.
    """
    labels, count = ndimage.label(mask == TUMOUR, np.ones((3, 3, 3)))
    sizes: list[int] = np.bincount(labels.ravel())[1:].tolist()
    total, largest = sum(sizes), max(sizes, default=0)
    known, (_, y, x) = case.geometry.unit == "mm", case.geometry.spacing
    ml = case.geometry.voxel_ml if known and not case.flat else None
    mm2 = y * x if known and case.flat else None
    boxes = ndimage.find_objects(labels)
    longest = max((longest_diameter(labels[box] == number, (y, x)) for number, box in enumerate(boxes, 1)), default=0.0)
    return {
        "tumour_voxels": total,
        "tumour_ml": None if ml is None else round(total * ml, 3),
        "tumour_mm2": None if mm2 is None else round(total * mm2, 1),
        "parts": count,
        "largest_voxels": largest,
        "largest_ml": None if ml is None else round(largest * ml, 3),
        "largest_mm2": None if mm2 is None else round(largest * mm2, 1),
        "longest": round(longest, 1),
        "unit": "mm" if known else "pixels",
    }


def amount(voxels: int, geometry: Geometry, flat: bool) -> str:
    """Return a number of voxels as mL, of an image as mm², or as pixels where its scale is unknown; a little is never said to be 0."""
    if geometry.unit != "mm":
        return f"{voxels} pixels"
    _, y, x = geometry.spacing
    size, least, digits, unit = (voxels * y * x, 0.1, 1, "mm²") if flat else (voxels * geometry.voxel_ml, 0.01, 2, "mL")
    return f"<{least} {unit}" if 0 < size < least else f"{size:.{digits}f} {unit}"


def longest_diameter(part: Mask, spacing: tuple[float, float]) -> float:
    """Return the longest distance between two voxels of one slice, from outer edge to outer edge (RECIST: within the plane).

    Parameters
    ----------
    part : ndarray of bool, shape (z, y, x)
    spacing : tuple of float
        Of y and x.
    """
    return max((_feret(plane, spacing) for plane in part if plane.any()), default=0.0)


def _feret(plane: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    rim = plane & ~ndimage.binary_erosion(plane)
    middles = np.argwhere(rim)
    corners = np.concatenate([middles + offset for offset in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))]) * spacing
    return float(pdist(corners[ConvexHull(corners).vertices]).max())
