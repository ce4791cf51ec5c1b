"""The layers of an examination: named for people, in mm, with their provenance in the metadata."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.types import LayerDataTuple
from napari.utils.colormaps import CyclicLabelColormap

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.widgets.desk.messages import plain
from napari_breastseg.widgets.view.lazy import SLAB, Slabs, lazy

TUMOUR_COLOUR = "#E69F00"
COARSE_COLOUR = "#56B4E9"
"""Orange and sky blue of the Okabe-Ito palette: told apart with every kind of colour vision."""

CASE, ROLE, GEOMETRY = "breastseg_case", "breastseg_role", "breastseg_geometry"
SESSION, CASE_ID, MODEL = "breastseg_session", "breastseg_case_id", "breastseg_model"
"""Which case of which session a layer shows, and what predicted it."""
OWN = "breastseg_own"
"""Marks an image layer that was not opened by the person."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue, as image files are read (ITU-R BT.601)."""
UNSEEN = "breastseg_unseen"
"""Marks a layer whose contrast is not known before it is shown."""


def space(geometry: Geometry, phases: bool = False) -> dict[str, Any]:
    """Return scale, units and axis labels for a layer on the case's grid.

    Every layer gets units: one layer without them stops napari's conversion of lengths for the whole viewer. The phase axis counts
    phases, whose times are uneven, so it has no seconds; an image of unknown scale counts pixels.
    """
    unit = geometry.unit
    lead: tuple[Any, Any, Any] = ((1.0,), ("pixel",), ("phase",)) if phases else ((), (), ())
    return {
        "scale": (*lead[0], *geometry.spacing),
        "units": (*lead[1], unit, unit, unit),
        "axis_labels": (*lead[2], "z", "y", "x"),
    }


def case_layers(case: Case, slabs: Slabs | None = None, start: int | None = None) -> list[LayerDataTuple]:
    """Return the examination as layers: all phases as one 4-D image and, from two phases on, the first subtraction, hidden.

    Images that are not in memory are read as they are shown. Contrast limits come from a part of the images around the axial slice
    `start`, the middle one if it is None; those of the subtraction, whose phases need not be read before, when it is first shown.
    """
    images = lazy(case.images, slabs or Slabs())
    in_memory = isinstance(case.images, np.ndarray)
    place = case.shape[0] // 2 if start is None else start
    low, high = limits(around(images[min(1, case.phases - 1)], place), 0.5, 99.8)
    known = {**case.metadata, CASE: case, GEOMETRY: case.geometry}
    layers: list[LayerDataTuple] = [
        (
            case.images if in_memory else images,
            {
                "name": plain(case.name),
                "colormap": "gray",
                "contrast_limits": (low, high),
                "metadata": {**known, ROLE: "case", "phase_times_s": case.times},
                "cache": False,
                **space(case.geometry, phases=True),
            },
            "image",
        )
    ]
    if case.phases > 1:
        layers.append(
            (
                images[1] - images[0],
                {
                    "name": "Subtraction (post 1 − pre)",
                    "colormap": "gray",
                    "contrast_limits": (0.0, high - low),
                    "visible": False,
                    "metadata": {CASE: case, ROLE: "subtraction", GEOMETRY: case.geometry, UNSEEN: True},
                    "cache": False,
                    **space(case.geometry),
                },
                "image",
            )
        )
    return layers


def around(image: da.Array, place: int) -> npt.NDArray[np.float32]:
    """Return every fourth voxel of the slices (z, y, x) around an axial slice that are read together."""
    first = place - place % SLAB
    return np.asarray(image[first : first + SLAB : 4, ::4, ::4])


def contrast_when_seen(layer: Image, place: int) -> None:
    """Give a subtraction that is seen for the first time its contrast, by the slices around `place`."""
    if layer.visible and layer.metadata.pop(UNSEEN, False):
        layer.contrast_limits = (0.0, max(limits(around(layer.data, place), 0.5, 99.95)[1], 1e-6))


def limits(values: npt.NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Return contrast limits at two percentiles of the values that could be read, never empty."""
    first, last = np.nanpercentile(values, [low, high]) if np.isfinite(values).any() else (0.0, 1.0)
    return float(first), float(max(last, first + 1e-6))


def tumour_layer(mask: npt.NDArray[np.uint8], geometry: Geometry, metadata: dict[str, Any]) -> Labels:
    """Return the editable layer: prediction with the annotation laid over it, in memory."""
    return _labels(mask, geometry, "Tumour", "tumour", TUMOUR_COLOUR, metadata, opacity=0.55)


def coarse_layer(mask: Any, geometry: Geometry, metadata: dict[str, Any]) -> Labels:
    """Return the half-resolution prediction, hidden, for looking at only."""
    layer = _labels(mask, geometry, "Prediction (coarse)", "coarse", COARSE_COLOUR, metadata, opacity=0.6, visible=False)
    layer.editable = False
    return layer


def probability_layer(values: Any, geometry: Geometry, metadata: dict[str, Any]) -> Image:
    """Return the probability of tumour, hidden, clear where it is zero."""
    return Image(
        values,
        name="Probability",
        colormap="inferno",
        blending="additive",
        opacity=0.6,
        contrast_limits=(0.0, 1.0),
        visible=False,
        cache=False,
        metadata={**metadata, ROLE: "probability", GEOMETRY: geometry},
        **space(geometry),
    )


def _labels(mask: Any, geometry: Geometry, name: str, role: str, colour: str, metadata: dict[str, Any], **look: Any) -> Labels:
    layer = Labels(
        mask,
        name=name,
        colormap=CyclicLabelColormap(colors=["transparent", colour]),  # a direct one would be compiled first, for seconds
        cache=False,
        metadata={**metadata, ROLE: role, GEOMETRY: geometry},
        **look,
        **space(geometry),
    )
    layer.selected_label = 1
    return layer


def warm_up() -> None:
    """Make a layer for nobody: with its first one napari reads the definitions of all units, which a person need not wait for later."""
    tumour_layer(np.zeros((1, 1, 1), np.uint8), Geometry((1.0, 1.0, 1.0), np.eye(4), (1, 1, 1)), {})


def role_of(layer: Layer) -> str | None:
    """Return what a layer is to this plugin, None if nothing."""
    role: str | None = layer.metadata.get(ROLE)
    return role


def disown(layer: Layer) -> None:
    """Make a layer nobody's: it is never again taken for a layer of a case, and never removed."""
    for key in (ROLE, SESSION, CASE_ID, MODEL, OWN):
        layer.metadata.pop(key, None)


def can_be_case(layer: Layer) -> bool:
    """Tell whether an image layer can be taken as an examination."""
    if not isinstance(layer, Image) or layer.multiscale:
        return False
    return role_of(layer) == "case" or (role_of(layer) is None and layer.ndim in ((2,) if layer.rgb else (2, 3, 4)))


def case_of(layer: Layer) -> Case:
    """Return the examination in an image layer: its own, or one made from an image that another reader opened.

    Such an image is taken as (phase, z, y, x) or (z, y, x) in canonical orientation, which is not read here, or as a single image (y, x),
    grey or in colours, whose luminance counts. Its scale and units give the spacing; a single image without a unit of length has no scale.

    Raises
    ------
    InputError
        If the layer has no such image.
    """
    known = layer.metadata.get(CASE)
    if isinstance(known, Case):
        return known
    if not can_be_case(layer):
        raise InputError(f"{layer.name} is no image of 2 to 4 dimensions that can be read. Choose another layer, or open a file.")
    if layer.ndim == 2:
        return _single(layer)
    data = layer.data if isinstance(layer.data, np.ndarray) else lazy(layer.data, Slabs())
    images = data if layer.ndim == 4 else data[np.newaxis]
    z_mm, y_mm, x_mm = spacing_mm(layer)
    phases, z, y, x = images.shape
    affine = np.diag([-x_mm, -y_mm, z_mm, 1.0])
    return Case(layer.name, images, Geometry((z_mm, y_mm, x_mm), affine, (x, y, z)), modality="dce-mri" if phases > 1 else "mri")


def _single(layer: Layer) -> Case:
    """Return a layer's single image; which kind of image it is, it does not tell."""
    grey = np.asarray(layer.data, np.float32)
    if layer.rgb:
        grey = grey[..., :3] @ LUMINANCE
    known = all((1.0 * unit).check("[length]") for unit in layer.units)
    height, width = spacing_mm(layer)[-2:] if known else (1.0, 1.0)
    y, x = grey.shape
    geometry = Geometry((1.0, height, width), np.diag([-width, -height, 1.0, 1.0]), (x, y, 1), "mm" if known else "pixel")
    return Case(layer.name, grey[None, None], geometry, modality="image")


def spacing_mm(layer: Layer) -> tuple[float, ...]:
    """Return the voxel size (z, y, x), or the pixel size (y, x), of a layer in mm; lengths without a unit are taken as mm."""
    sizes = []
    for scale, unit in zip(layer.scale[-3:], layer.units[-3:], strict=True):
        size = abs(float(scale)) * unit
        sizes.append(float(size.to("mm").magnitude) if size.check("[length]") else abs(float(scale)))
    return tuple(sizes)


def claim(layer: Layer, case: Case) -> None:
    """Mark a layer as the image of `case` and give its lengths a unit."""
    layer.metadata.update({CASE: case, ROLE: "case", GEOMETRY: case.geometry})
    if case.geometry.unit == "mm" and any(not (1.0 * unit).check("[length]") for unit in layer.units[-3:]):
        layer.units = (*layer.units[:-3], *["mm"] * min(layer.ndim, 3))
