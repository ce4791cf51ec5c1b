"""The layers of time travel: a version of the mask, and what differs between two; for looking at only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_breastseg.case import Geometry, slices
from napari_breastseg.session import Comparison
from napari_breastseg.widgets._layers import GEOMETRY, ROLE, space

ROLES = ("version", "changes")
VERSION_COLOUR = "#009E73"
ADDED_COLOUR, REMOVED_COLOUR = "#CC79A7", "#56B4E9"
"""Bluish green, reddish purple and sky blue of the Okabe-Ito palette, whose orange is the tumour."""
ADDED, REMOVED = 1, 2


def version_layer(mask: npt.NDArray[np.uint8], geometry: Geometry, name: str) -> Labels:
    """Return the layer of a version of the mask."""
    return _labels(mask, geometry, name, "version", [VERSION_COLOUR])


def changes_layer(changes: npt.NDArray[np.uint8], geometry: Geometry, name: str) -> Labels:
    """Return the layer of what differs between two versions, see :func:`changes`."""
    return _labels(changes, geometry, name, "changes", [ADDED_COLOUR, REMOVED_COLOUR])


def changes(compared: Comparison, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return 1 where tumour was added and 2 where it was removed, on the case's grid."""
    drawn = np.zeros(shape, np.uint8)
    if compared.box is not None:
        part = drawn[slices(compared.box)]
        part[compared.after > compared.before] = ADDED
        part[compared.before > compared.after] = REMOVED
    return drawn


def _labels(data: npt.NDArray[np.uint8], geometry: Geometry, name: str, role: str, colours: list[str]) -> Labels:
    layer = Labels(
        data,
        name=name,
        opacity=0.75,
        colormap=CyclicLabelColormap(colors=["transparent", *colours]),  # a direct one would be compiled first, for seconds
        cache=False,
        metadata={ROLE: role, GEOMETRY: geometry},
        **space(geometry),
    )
    layer.editable = False
    return layer
