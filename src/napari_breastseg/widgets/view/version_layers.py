"""The layers that are laid below the tumour for looking at: a version of the mask, what differs between two, what the model learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_breastseg.case import Geometry, slices
from napari_breastseg.session import Comparison
from napari_breastseg.widgets.view.layers import GEOMETRY, ROLE, role_of, space

if TYPE_CHECKING:
    from napari_breastseg.widgets.view.case_view import CaseView

TRAVEL = ("version", "changes")
LEARNED = "learned"
ROLES = (*TRAVEL, LEARNED)
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


def learned_layer(drawn: npt.NDArray[np.uint8], geometry: Geometry) -> Labels:
    """Return the layer of what the model has learned, which napari's status bar names: 1 gained, 2 lost."""
    layer = _labels(drawn, geometry, "Learned", LEARNED, [ADDED_COLOUR, REMOVED_COLOUR])
    layer.features = {"index": [0, ADDED, REMOVED], "learned": ["", "gained, new tumour", "lost, tumour no more"]}
    return layer


def lay_below(view: CaseView, layer: Labels) -> bool:
    """Lay a layer below the tumour, of which an outline is drawn then, so that it hides nothing; tell if it was not there before."""
    role = str(role_of(layer))
    before, tumour = view.layer(role), view.layer("tumour")
    name = None if before is None else before.name
    view.show_result(layer)
    view.layer(role).name = layer.name
    if tumour is not None and not tumour.contour:
        tumour.contour, view.outlined = 1, True
    return bool(name != layer.name)


def take_away(view: CaseView, *roles: str) -> None:
    """Remove layers, and fill the tumour again if it was filled before and nothing else needs its outline."""
    for role in roles:
        view.remove(role)
    if view.outlined and not any(view.layer(role) for role in ROLES):
        view.outlined = False
        tumour = view.layer("tumour")
        if tumour is not None and tumour.contour == 1:
            tumour.contour = 0


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
