"""The layers that show why: similarity to the tumour, what surrounds it, and the healthy voxels that look most like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, CyclicLabelColormap, DirectLabelColormap, ensure_colormap

from napari_breastseg.case import Geometry
from napari_breastseg.widgets.view.layers import GEOMETRY, ROLE, space

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation

ROLES = ("expected", "sfeb-effect", "boundary-attention", "similarity", "negative", "boundary", "hardest")
BOUNDARY_COLOUR, NEGATIVE_COLOUR = "#FFFFFF", "#4477AA"
ROW_COLOURS = ("#44BB99", "#FFAABB", "#BBCC33", "#77AADD", "#EEDD88", "#99DDFF", "#AAAA00")
"""Tol's light palette, told apart on dark images by all kinds of colour vision, without the tumour's orange. Row 8 starts anew."""
Colours: TypeAlias = dict[int | None, str]
SIMILAR = Colormap(
    [[0.1, 0.0, 0.3, 0.0], [0.5, 0.1, 0.5, 0.45], [0.9, 0.3, 0.35, 0.7], [1.0, 0.85, 0.4, 0.8]],
    controls=[0.0, 0.3, 0.65, 1.0],
    name="similar to tumour",
)
"""Dark to light as napari's magma, and clear where the model sees no likeness, so that the image shows through."""


EITHER_WAY = Colormap(
    [[0.2, 0.4, 0.9, 0.8], [0.2, 0.4, 0.9, 0.0], [0.9, 0.3, 0.2, 0.0], [0.9, 0.3, 0.2, 0.8]],
    controls=[0.0, 0.5, 0.5, 1.0],
    name="lower or higher",
)
OWN = {"sfeb-effect": "What SFEB adds", "boundary-attention": "Boundary attention (BFA)"}
"""Maps of single methods, and what their layers are called."""
SIGNED = ("sfeb-effect",)
"""Those of them that can go below 0."""


def row_colour(number: int) -> str:
    """Colour of a row and of its voxels."""
    return ROW_COLOURS[(number - 1) % len(ROW_COLOURS)]


def cluster_colours(count: int) -> list[str]:
    """Return a colour for each cluster, from slow to fast uptake and from persistent to wash-out: the rainbow without its dark ends."""
    found = ensure_colormap("turbo").map(np.linspace(0.08, 0.92, count))
    return ["#" + "".join(f"{round(255 * float(part)):02x}" for part in colour[:3]) for colour in found]


def _expected(labels: npt.NDArray[np.uint8], geometry: Geometry) -> Labels:
    """Return the clusters that a model expects before contrast, hidden until they are wanted."""
    layer = Labels(
        labels,
        name="Expected curve clusters",
        opacity=0.6,
        visible=False,
        colormap=CyclicLabelColormap(colors=["transparent", *cluster_colours(max(int(labels.max()), 1))]),
        metadata={ROLE: "expected", GEOMETRY: geometry},
        **space(geometry),
    )
    layer.editable = False
    return layer


def _own(role: str, name: str, values: npt.NDArray[np.float32], geometry: Geometry) -> Image:
    """Return a map of the method's own, hidden until it is wanted; one that can go below 0 from blue over clear to red."""
    signed = role in SIGNED
    most = max(float(np.abs(values).max()), 1e-6)
    return Image(
        values,
        name=name,
        colormap=EITHER_WAY if signed else SIMILAR,
        blending="translucent",
        opacity=0.8,
        visible=False,
        contrast_limits=(-most if signed else 0.0, most),
        metadata={ROLE: role, GEOMETRY: geometry},
        **space(geometry),
    )


def explanation_layers(explanation: Explanation, geometry: Geometry) -> list[Layer]:
    """Return the layers, lowest first; none can be painted on."""
    maps = explanation.maps
    similarity = Image(
        maps["frloss-similarity"],
        name="Similarity to tumour",
        colormap=SIMILAR,
        blending="translucent",
        opacity=0.8,
        contrast_limits=(0.0, 1.0),
        metadata={ROLE: "similarity", GEOMETRY: geometry, **explanation.details},
        **space(geometry),
    )
    rows: Colours = {number: row_colour(number) for number in range(1, 256)}
    return [
        *([_expected(maps["clusters-predicted"], geometry)] if "clusters-predicted" in maps else []),
        *(_own(role, name, maps[role], geometry) for role, name in OWN.items() if role in maps),
        similarity,
        _labels(maps["frloss-negative"], geometry, "Around hard negatives", "negative", {1: NEGATIVE_COLOUR}, 1, 0.8),
        _labels(maps["frloss-boundary"], geometry, "Boundary confusion", "boundary", {1: BOUNDARY_COLOUR}, 1, 0.6),
        _labels(maps["frloss-hardest"], geometry, "Hard negatives", "hardest", rows, 0, 0.9),
    ]


def _labels(
    data: npt.NDArray[np.uint8], geometry: Geometry, name: str, role: str, colours: Colours, contour: int, opacity: float
) -> Labels:
    layer = Labels(
        data,
        name=name,
        opacity=opacity,
        colormap=DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **colours}),
        metadata={ROLE: role, GEOMETRY: geometry},
        **space(geometry),
    )
    layer.contour = contour
    layer.editable = False
    return layer
