"""The layers of one case in the viewer: its images, the prediction as it comes in, and the tumour layer that is painted on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels, Layer
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_breastseg.case import REFINED_WITH, Box, Case, Prediction, slab, slices
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.widgets.desk.opening import Shown
from napari_breastseg.widgets.view import layers
from napari_breastseg.widgets.view.camera import centre_on
from napari_breastseg.widgets.view.explain_layers import ROLES as EXPLANATION
from napari_breastseg.widgets.view.lazy import Slabs, lazy
from napari_breastseg.widgets.view.version_layers import ROLES as VERSIONS

if TYPE_CHECKING:
    from napari_breastseg.inference import Preview

PREVIEW_THRESHOLD = 0.5
PIXELS_PER_LINE = 300
"""Of the longest side, for each pixel of an outline's width."""
WIDEST_LINE = 10
IMAGES, RESULTS = ("case", "subtraction"), ("coarse", "probability", *EXPLANATION, *VERSIONS, "tumour")


class CaseView:
    """Adds, fills and removes the layers of a case.

    The image is added hidden, or takes the place of the one that is shown already: nothing is read from the disk before the slider is
    where it should be, see :meth:`reveal`. What is seldom looked at comes after it, see :meth:`complete`.

    Parameters
    ----------
    viewer : Viewer
    shown : Shown
    session_path : Path
        Kept in the layers' metadata, so that a closed dock finds the session again.
    case_id : str
    slabs : Slabs
        What predictions are read through.
    """

    def __init__(self, viewer: Viewer, shown: Shown, session_path: Path, case_id: str, slabs: Slabs) -> None:
        self._viewer = viewer
        self._slabs = slabs
        self.case = shown.case
        self._origin = {layers.SESSION: str(session_path), layers.CASE_ID: case_id}
        self._tumour: Labels | None = None
        self._left = False
        self._arriving = self._blank()
        self.outlined = False
        """Whether the tumour is drawn as an outline only as long as something else is shown below it."""
        self.contours = False
        """Whether the coarse prediction and the tumour are drawn as outlines."""
        self._fresh = {attributes["metadata"][layers.ROLE]: data for data, attributes, _ in shown.layers}
        self._later = [Layer.create(data, {**attributes, "visible": False}, kind) for data, attributes, kind in shown.layers]
        found = self._images(shown.given)
        if found:
            self._later.clear()
        else:
            for layer in self._later:
                layer.metadata[layers.OWN] = True
            found = [viewer.add_layer(self._later.pop(0))]
        for layer in [*found, *self._later]:
            layer.metadata.update({**self._origin, layers.CASE: self.case})
            layer.events.visible.connect(self._on_seen)

    def _images(self, given: Case | None = None) -> list[Layer]:
        """Return the layers that show the case's images, also those of a session that was closed and opened again."""
        images = [layer for layer in self._viewer.layers if layers.role_of(layer) in IMAGES]
        return [layer for layer in images if self._came_from(layer) or (given is not None and layer.metadata.get(layers.CASE) is given)]

    def _came_from(self, layer: Layer) -> bool:
        return all(layer.metadata.get(key) == value for key, value in self._origin.items())

    def reveal(self) -> None:
        """Let the images come from the disk, where the slider is now; what an image held in memory until now is let go."""
        for layer in self._images():
            fresh = self._fresh[str(layers.role_of(layer))]
            if layer.data is not fresh and layer.data.dtype == fresh.dtype:
                layer.data = fresh if layer.ndim == fresh.ndim else fresh[0]
        self._fresh.clear()

    def complete(self, prediction: Prediction | None) -> None:
        """Add the layers that are hidden at first: the subtraction and what was predicted."""
        while self._later:
            self._add_below_tumour(self._later.pop(0))
        if prediction is not None:
            self.show_prediction(prediction)

    def _on_seen(self, event: Any) -> None:
        layers.contrast_when_seen(event.source, self.slice_index(0))

    def role(self, layer: Layer) -> str | None:
        """Return what a layer is to this case ("case", "coarse", "probability", "tumour", ...), None if it is not of this case."""
        return layers.role_of(layer) if self._came_from(layer) else None

    def layer(self, role: str) -> Any:
        """Return this case's layer of a role, or None."""
        return next((layer for layer in self._viewer.layers if self.role(layer) == role), None)

    def start_preview(self) -> None:
        """Clear what an earlier prediction left, for a new one to come in; the tumour layer stays."""
        self._arriving = self._blank()
        for layer, values in zip((self.layer("probability"), self.layer("coarse")), self._arriving, strict=True):
            if layer is not None:
                layer.data = values

    def filled(self, job: Job[Prediction]) -> Job[Prediction]:
        """Return a job that predicts this case and, as it goes on, fills in what the layers show; for the thread that works.

        A breast has millions of voxels: the window's thread must not copy them.
        """
        probability, coarse = self._arriving

        def fill(step: Progress) -> Progress:
            preview: Preview | None = step.payload
            if preview is not None:
                place = probability[slices(preview.box)]
                if preview.kind == "coarse":  # where boxes overlap, the larger stands
                    np.maximum(place, preview.probability, out=place)
                    coarse[slices(preview.box)] |= preview.probability > PREVIEW_THRESHOLD
                else:
                    place[...] = preview.probability
            return step

        return retold(job, fill)

    def show_preview(self, preview: Preview) -> None:
        """Draw a part of a prediction that is still being computed, and was filled in."""
        _redraw(self._probability())
        if preview.kind == "coarse":
            QTimer.singleShot(0, self._show_coarse)  # napari takes long to add a layer: one at a time

    def _show_coarse(self) -> None:
        if not self._left:
            _redraw(self._coarse())

    def show_prediction(self, prediction: Prediction) -> None:
        """Fill in the finished prediction; its layers are hidden then and cost nothing, the tumour layer shows what counts."""
        facts = {**prediction.details, **self._origin, layers.MODEL: prediction.model}
        for layer, values in ((self._coarse(), prediction.coarse), (self._probability(), prediction.probability)):
            layer.visible = self.contours and layers.role_of(layer) == "coarse"
            layer.data = lazy(values, self._slabs)
            layer.metadata.pop(REFINED_WITH, None)
            layer.metadata.update(facts)
            layer.editable = False
        self._arriving = self._blank()

    def show_contours(self, shown: bool) -> None:
        """Draw the coarse prediction and the tumour as outlines, or the tumour alone as a surface again."""
        self.contours = shown
        width = min(WIDEST_LINE, max(1, round(max(self.case.shape) / PIXELS_PER_LINE))) if shown else 0
        for role in ("coarse", "tumour"):
            layer = self.layer(role)
            if layer is not None:
                layer.contour = width
                layer.visible = shown or role == "tumour"

    def _blank(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return a probability and a coarse mask without tumour, which take no memory until they are filled."""
        return np.zeros(self.case.shape, np.float32), np.zeros(self.case.shape, np.uint8)

    def show_tumour(self, mask: npt.NDArray[np.uint8], model: str | None, editable: bool, old: Labels | None) -> Labels:
        """Show a mask on the tumour layer, a new one if there is none.

        The layer stays the same: to remove one takes napari half a second, in which it collects all garbage.
        """
        if old is None:
            old = self.layer("tumour")
        elif old not in self._viewer.layers:
            old = None
        if old is None:
            layer = layers.tumour_layer(mask, self.case.geometry, {**self._origin, layers.MODEL: model})
            self._tumour = layer
            self._viewer.add_layer(layer)
            layer.editable = editable
        else:
            layer = self._tumour = old
            mode = layer.mode
            layer.editable = False  # napari forgets its undo history then, which would write old voxels into the new mask
            layer.data = mask
            layer.metadata.update({**self._origin, layers.ROLE: "tumour", layers.MODEL: model})
            layer.editable = editable
            if editable:
                layer.mode = mode
        for other in self._viewer.layers:
            if other is not layer:  # which may be a copy itself, if the person left nothing else
                self.disown_copy(other)
        self._viewer.layers.selection.active = layer
        return layer

    def show_result(self, layer: Layer) -> None:
        """Add a layer below the tumour layer, or fill the earlier one of its role, whose look is the person's; the active one stays."""
        layer.metadata.update(self._origin)
        old = self.layer(str(layers.role_of(layer)))
        if old is None:
            self._add_below_tumour(layer)
        else:
            old.data, old.editable = layer.data, layer.editable
            old.metadata.update(layer.metadata)

    def remove(self, role: str) -> None:
        """Take the layer of a role out of the viewer, if it is there."""
        layer = self.layer(role)
        if layer is not None:
            self._viewer.layers.remove(layer)

    def disown_copy(self, layer: Layer) -> None:
        """Let go of a layer that was made as a copy of one of the case's layers, which would be taken for it."""
        role = self.role(layer)
        if role is None:
            return
        known = self._tumour if role == "tumour" else next((other for other in self._viewer.layers if self.role(other) == role), None)
        parent = None if layer.source.parent is None else layer.source.parent()
        if (known is not None and known is not layer) or (parent is not None and self.role(parent) == role):
            layers.disown(layer)

    def leave(self) -> None:
        """Stop listening to the case's images."""
        self._left = True
        for layer in self._images():
            layer.events.visible.disconnect(self._on_seen)

    def begin_at(self, start: int) -> None:
        """Show the case as one that was not looked at before: at an axial slice of the first phase after the injection."""
        dims = self._viewer.dims
        if self.case.phases > 1 and dims.ndim == 4:
            dims.set_point(0, 1)
        if self.slice_axis() == 0:
            self.show_slice(0, start)
        for layer in self._images():
            layer.visible = layer.visible or layers.role_of(layer) == "case"

    def bring_into_view(self, box: Box) -> None:
        """Move the slider to the middle of `box` along an axis that is not displayed, unless it is there already."""
        dims = self._viewer.dims
        for axis, (start, stop) in enumerate(box):
            dim = dims.ndim - 3 + axis
            if dim not in dims.not_displayed:
                continue
            spacing = self.case.geometry.spacing[axis]
            if not start <= round(dims.point[dim] / spacing) < stop:
                dims.set_point(dim, (start + stop - 1) // 2 * spacing)

    def go_to(self, index: tuple[int, int, int]) -> None:
        """Bring a voxel (z, y, x) to the middle of the canvas."""
        centre_on(self._viewer, [i * spacing for i, spacing in zip(index, self.case.geometry.spacing, strict=True)])

    def show_largest_slice(self, mask: npt.NDArray[np.uint8]) -> None:
        """Move to the slice that shows most tumour, unless the present one shows some."""
        axis = self.slice_axis()
        if axis is None or not mask.any():
            return
        areas = mask.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.int64)
        if not areas[self.slice_index(axis)]:
            self.show_slice(axis, int(areas.argmax()))

    def slice_axis(self) -> int | None:
        """Return the axis (0 z, 1 y, 2 x) that the slider goes along, None in the 3-D view or where two axes have sliders."""
        dims = self._viewer.dims
        hidden = [dim - (dims.ndim - 3) for dim in dims.not_displayed if dim >= dims.ndim - 3]
        return hidden[0] if len(hidden) == 1 else None

    def slice_index(self, axis: int) -> int:
        """Return the index of the slice that is shown along `axis`."""
        dims = self._viewer.dims
        index = round(dims.point[dims.ndim - 3 + axis] / self.case.geometry.spacing[axis])
        return int(np.clip(index, 0, self.case.shape[axis] - 1))

    def slice_box(self) -> Box | None:
        """Return the slice that is shown as a box, None where no single one is."""
        axis = self.slice_axis()
        return None if axis is None else self._slice(axis, self.slice_index(axis))

    def show_slice(self, axis: int, index: int) -> None:
        """Move the slider along `axis` to a slice."""
        self.bring_into_view(self._slice(axis, index))

    def _slice(self, axis: int, index: int) -> Box:
        return slab(self.case.shape, axis, index, index + 1)

    def voxel_at(self, position: Sequence[float]) -> tuple[int, int, int] | None:
        """Return the voxel at a place of the viewer's world, None beside the case."""
        spacing = self.case.geometry.spacing
        z, y, x = (round(float(place) / size) for place, size in zip(position[-3:], spacing, strict=True))
        inside = all(0 <= index < size for index, size in zip((z, y, x), self.case.shape, strict=True))
        return (z, y, x) if inside else None

    def shown_image(self) -> Any:
        """Return the image that is looked at, shape (z, y, x), in memory or lazy: the subtraction if it is shown, else the phase."""
        subtraction = self.layer("subtraction")
        if subtraction is not None and subtraction.visible:
            return subtraction.data
        phase = int(np.clip(self._viewer.dims.current_step[0], 0, self.case.phases - 1)) if self._viewer.dims.ndim == 4 else 0
        return self.case.images[phase]

    def _coarse(self) -> Labels:
        layer = self.layer("coarse")
        if layer is None:
            layer = layers.coarse_layer(self._arriving[1], self.case.geometry, self._origin)
            self._add_below_tumour(layer)
        return layer

    def _probability(self) -> Any:
        layer = self.layer("probability")
        if layer is None:
            layer = layers.probability_layer(self._arriving[0], self.case.geometry, self._origin)
            self._add_below_tumour(layer)
        return layer

    def _add_below_tumour(self, layer: Layer) -> None:
        active = self._viewer.layers.selection.active
        tumour = self.layer("tumour")
        self._viewer.add_layer(layer)
        if tumour is not None:
            self._viewer.layers.move(self._viewer.layers.index(layer), self._viewer.layers.index(tumour))
        if active is not None:
            self._viewer.layers.selection.active = active


def make_room(viewer: Viewer, session_path: Path | None, case_id: str | None) -> None:
    """Take every other case out of the viewer, also one that a closed dock left there, before a case is shown.

    Nothing is lost: predictions and annotation are in the session, an explanation can be made again. Images that the person opened are
    hidden only.
    """
    for layer in list(viewer.layers):
        origin = layer.metadata.get(layers.SESSION), layer.metadata.get(layers.CASE_ID)
        role = layers.role_of(layer)
        if origin[0] is None or role is None or origin == (str(session_path), case_id):
            continue
        if role in RESULTS or layers.OWN in layer.metadata:
            viewer.layers.remove(layer)
        else:
            layer.visible = False


def _redraw(layer: Layer) -> None:
    """Draw a layer anew after its data changed, and show it."""
    if layer.visible:
        layer.refresh(extent=False)
    else:
        layer.visible = True
