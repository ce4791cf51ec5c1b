"""How a case is looked at: a value that is kept in the session, so that work goes on where it was.

A view comes from a disk, perhaps from a stranger's: a value that is missing, of another type or out of range is left out, the rest is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from napari_breastseg.widgets.view.layers import UNSEEN

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_breastseg.widgets.view.case_view import CaseView

Role: TypeAlias = Literal["case", "subtraction", "coarse", "probability", "tumour"]
Tool: TypeAlias = Literal["pan_zoom", "paint", "erase", "fill", "polygon", "pick"]
Blending: TypeAlias = Literal["translucent", "translucent_no_depth", "additive", "minimum", "opaque", "multiplicative"]
Running: TypeAlias = Literal["predict", "explain", "learn"]
Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Triple: TypeAlias = tuple[Number, Number, Number]

ROLES: tuple[Role, ...] = ("case", "subtraction", "coarse", "probability", "tumour")
LOOKS = ("visible", "opacity", "blending", "gamma", "contrast_limits", "colormap", "contour", "brush_size", "n_edit_dimensions")


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_nothing(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        try:
            return check(value)
        except (ValidationError, ArithmeticError, RecursionError):
            return None


class Look(_Lenient):
    """How one layer is drawn and, if it can be painted on, with which brush; None is what the layer has not or what is left as it is."""

    role: Role | None = None
    visible: bool | None = None
    opacity: Annotated[float, Field(ge=0, le=1)] | None = None
    blending: Blending | None = None
    gamma: Annotated[float, Field(ge=0.01, le=10)] | None = None
    contrast_limits: tuple[Number, Number] | None = None
    colormap: Annotated[str, Field(max_length=60)] | None = None
    contour: Annotated[int, Field(ge=0, le=20)] | None = None
    brush_size: Annotated[float, Field(ge=1, le=80)] | None = None
    n_edit_dimensions: Literal[2, 3] | None = None


class ViewState(_Lenient):
    """The sliders, the camera, the layers from the lowest to the highest, what is in the person's hand, and what runs."""

    order: Annotated[tuple[int, ...], Field(max_length=8)] | None = None
    point: Annotated[tuple[Number, ...], Field(max_length=8)] | None = None
    ndisplay: Literal[2, 3] | None = None
    center: Triple | None = None
    zoom: Annotated[float, Field(gt=1e-6, le=1e6)] | None = None
    angles: Triple | None = None
    looks: Annotated[tuple[Look, ...], Field(max_length=len(ROLES))] | None = None
    active: Role | None = None
    tool: Tool | None = None
    running: Running | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> ViewState | None:
        """Return the view that a session kept, None if it kept none."""
        return cls.model_validate(dict(stored)) if stored else None

    def stored(self) -> dict[str, Any]:
        """Return the view as JSON-ready values."""
        return self.model_dump(mode="json", exclude_none=True)

    def look(self, role: Role) -> Look:
        """Return how the layer of a role is drawn."""
        return next((look for look in self.looks or () if look.role == role), Look())


def capture(viewer: Viewer, view: CaseView, running: str | None) -> ViewState:
    """Return how the case is looked at now, and the kind of the job that runs."""
    dims, camera = viewer.dims, viewer.scene.camera
    looks = [_look(layer, role, view.outlined) for layer in viewer.layers if (role := view.role(layer)) in ROLES]
    active, tumour = viewer.layers.selection.active, view.layer("tumour")
    return ViewState.model_validate(
        {
            "order": dims.order,
            "point": tuple(dims.point),
            "ndisplay": dims.ndisplay,
            "center": (0.0, *camera.center)[-3:],
            "zoom": camera.zoom,
            "angles": camera.angles,
            "looks": tuple(looks),
            "active": None if active is None else view.role(active),
            "tool": None if tumour is None else str(tumour.mode),
            "running": running,
        }
    )


def _look(layer: Layer, role: str | None, outlined: bool) -> Look:
    found = {name: getattr(layer, name, None) for name in LOOKS}
    if role == "tumour" and outlined:
        found["contour"] = 0  # the outline is not the person's
    colormap = found.pop("colormap") if role in ("case", "subtraction", "probability") else None
    if layer.metadata.get(UNSEEN):
        del found["contrast_limits"]
    return Look.model_validate({**found, "role": role, "blending": str(layer.blending), "colormap": getattr(colormap, "name", None)})


def restore_place(viewer: Viewer, state: ViewState) -> None:
    """Bring the sliders and the camera back to where they were; nothing needs to be drawn for it.

    A 3-D image of another reader comes back from the session with an axis of phases, so that places are counted from the last axis.
    """
    dims, camera = viewer.dims, viewer.scene.camera
    order = None if state.order is None else _of_axes(state.order, dims.ndim)
    if order is not None:
        dims.ndisplay = state.ndisplay or 2
        dims.order = order
    if state.point is not None:
        known = min(len(state.point), dims.ndim)
        dims.set_point(range(dims.ndim - known, dims.ndim), state.point[len(state.point) - known :])
    for name in ("center", "zoom", "angles"):
        value = getattr(state, name)
        if value is not None:
            setattr(camera, name, value)


def _of_axes(order: tuple[int, ...], ndim: int) -> tuple[int, ...] | None:
    """Return an order for `ndim` axes, those before the last three first where their number differs; None if it is no order."""
    if sorted(order) != list(range(len(order))):
        return None
    if len(order) == ndim:
        return order
    if min(len(order), ndim) < 3:
        return None
    last = [ndim + axis - len(order) for axis in order if axis >= len(order) - 3]
    return (*range(ndim - 3), *last)


def restore_layers(viewer: Viewer, view: CaseView, state: ViewState) -> None:
    """Draw the case's layers as they were, in the order in which they lay."""
    there = [(look, layer) for look in state.looks or () if look.role is not None and (layer := view.layer(look.role)) is not None]
    places = sorted(viewer.layers.index(layer) for _, layer in there)
    for place, (_, layer) in zip(places, there, strict=True):
        viewer.layers.move(viewer.layers.index(layer), place)
    for look, layer in there:
        _draw(layer, look)


def restore_tool(viewer: Viewer, view: CaseView, state: ViewState) -> None:
    """Take up the tool again, with its brush, and choose the layer that was chosen."""
    active = None if state.active is None else view.layer(state.active)
    if active is not None:
        viewer.layers.selection.active = active
    tumour, look = view.layer("tumour"), state.look("tumour")
    if tumour is None or not tumour.editable:
        return
    for name, value in (("brush_size", look.brush_size), ("n_edit_dimensions", look.n_edit_dimensions), ("mode", state.tool)):
        if value is not None:
            setattr(tumour, name, value)


def _draw(layer: Any, look: Look) -> None:
    limits, colormap = look.contrast_limits, look.colormap
    for name in ("opacity", "blending", "gamma", "contour"):
        value = getattr(look, name)
        if value is not None and hasattr(layer, name):
            setattr(layer, name, value)
    if limits is not None and limits[0] < limits[1] and hasattr(layer, "contrast_limits"):
        layer.contrast_limits = limits
        layer.metadata.pop(UNSEEN, None)
    if colormap is not None and colormap in getattr(layer, "colormaps", ()):
        layer.colormap = colormap
    if look.visible is not None:
        layer.visible = look.visible
