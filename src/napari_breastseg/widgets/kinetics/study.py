"""The examination that the viewer shows, its timing, and its layers, whoever opened it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Thresholds, Timing, timing_of
from napari_breastseg.widgets.desk.jobs import JobRunner
from napari_breastseg.widgets.view.camera import centre_on
from napari_breastseg.widgets.view.layers import CASE, CASE_ID, ROLE, SESSION, role_of

NOTHING = "Open a DCE-MRI examination with two or more phases: File > Open, or the dock Breast segmentation."
OWN_ROLE = "kinetics"
"""Role of the layers that this dock adds, alone or followed by what they show."""
Index = tuple[int, int, int]


class Study(QObject):
    """Follows the examination in the viewer: the selected one, else the one that was followed, else the topmost that is visible.

    Signals
    -------
    changed
        Another examination is followed, or none.
    timed
        The same one has another timing, or the thresholds are others.
    looked
        Layers came, went or were selected.

    Attributes
    ----------
    layer, case : Image, Case, or None
        What is followed.
    timing : Timing, or None
        None if there is nothing to measure; `refusal` then says why in a sentence.
    injection : float, or None
        When the person says that contrast was injected, s on the case's clock.
    """

    changed = Signal()
    timed = Signal()
    looked = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.jobs = JobRunner()
        self.layer: Image | None = None
        self.case: Case | None = None
        self.timing: Timing | None = None
        self.refusal = NOTHING
        self.injection: float | None = None
        self.thresholds = Thresholds()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)  # a case comes and goes with many layers: look once, when they are all there
        self._soon.timeout.connect(self.look)
        events = viewer.layers.events
        self._events = (events.inserted, events.removed, events.reordered, viewer.layers.selection.events.active)
        for event in self._events:
            event.connect(self._on_layers)

    def close(self) -> None:
        """Follow no more, and stop what runs."""
        self._soon.stop()
        for event in self._events:
            event.disconnect(self._on_layers)
        self.jobs.cancel()
        self.layer = self.case = self.timing = None

    def look(self) -> None:
        """Find the examination that is shown now."""
        layer = self._find()
        case = None if layer is None else layer.metadata[CASE]
        if layer is not self.layer or not _alike(case, self.case):
            self.jobs.cancel()
            self.layer, self.case, self.injection = layer, case, None
            self._measure_times()
            self.changed.emit()
        self.case = case  # the main dock takes an image into a session as a new Case of the same examination
        self.looked.emit()

    def set_injection(self, seconds: float | None) -> None:
        """Count the times from another injection; None finds it from the times.

        Raises
        ------
        InputError
            If the phases do not fit it; the timing stays as it is then.
        """
        if self.case is None:
            return
        self.timing = timing_of(self.case, seconds)
        self.injection, self.refusal = seconds, ""
        self.timed.emit()

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Tell curve types by other thresholds."""
        self.thresholds = thresholds
        self.timed.emit()

    def labels(self) -> list[Labels]:
        """Return the layers of labels on the examination's grid that are not this dock's, the topmost first."""
        case = self.case
        if case is None:
            return []
        found = [layer for layer in self.viewer.layers if isinstance(layer, Labels) and not is_own(layer) and on_grid(layer, case)]
        return found[::-1]

    def tumour(self) -> Labels | None:
        """Return the layer whose 1s are the lesion: that of the main dock, else one that the person named Tumour."""
        image, labels = self.layer, self.labels()
        if image is None:
            return None
        for layer in labels:
            if role_of(layer) == "tumour" and all(layer.metadata.get(key) == image.metadata.get(key) for key in (SESSION, CASE_ID)):
                return layer
        return next((layer for layer in labels if role_of(layer) is None and layer.name.lower().startswith("tumour")), None)

    def own(self, role: str) -> Any:
        """Return this dock's layer of a role, None if it is not there."""
        return next((layer for layer in self.viewer.layers if role_of(layer) == role), None)

    def add(self, layer: Layer, below: bool = True) -> None:
        """Add a layer of this dock, below the tumour or on top; what is selected stays selected."""
        layers = self.viewer.layers
        active, tumour = layers.selection.active, self.tumour()
        self.viewer.add_layer(layer)
        if tumour is not None and below:
            layers.move(layers.index(layer), layers.index(tumour))
        if active is not None:
            layers.selection.active = active

    def remove_own(self, prefix: str = OWN_ROLE) -> None:
        """Remove this dock's layers whose roles begin so."""
        for layer in [layer for layer in self.viewer.layers if (role_of(layer) or "").startswith(prefix)]:
            self.viewer.layers.remove(layer)

    def voxel_at(self, position: tuple[float, ...]) -> Index | None:
        """Return the voxel (z, y, x) at a place in the viewer, None outside the image."""
        if self.layer is None or self.case is None or len(position) < 3:
            return None
        z, y, x = (round(i) for i in self.layer.world_to_data(position)[-3:])
        inside = all(0 <= i < n for i, n in zip((z, y, x), self.case.shape, strict=True))
        return (z, y, x) if inside else None

    def go_to(self, index: Index) -> None:
        """Bring a voxel to the middle of the canvas."""
        if self.layer is not None:
            centre_on(self.viewer, self.layer.data_to_world((*(0,) * (self.layer.ndim - 3), *index))[-3:])

    def _on_layers(self, event: Any = None) -> None:
        self._soon.start(0)

    def _measure_times(self) -> None:
        self.timing, self.refusal = None, NOTHING
        if self.case is not None:
            try:
                self.timing, self.refusal = timing_of(self.case), ""
            except InputError as error:
                self.refusal = str(error)

    def _find(self) -> Image | None:
        cases = [layer for layer in self.viewer.layers if role_of(layer) == "case" and isinstance(layer.metadata.get(CASE), Case)]
        visible = [layer for layer in cases if layer.visible]
        active = self.viewer.layers.selection.active
        if active in cases:
            return active
        if self.layer in visible:
            return self.layer
        return next(iter((visible or cases)[::-1]), None)


def on_grid(layer: Labels, case: Case) -> bool:
    """Tell whether labels lie on a case's grid; napari gives new ones the phases too."""
    if layer.multiscale or layer.ndim not in (3, 4) or tuple(layer.data.shape[-3:]) != case.shape:
        return False
    return np.allclose(np.abs(layer.scale[-3:]), case.geometry.spacing, rtol=0.01)


def labelled(layer: Labels) -> npt.NDArray[Any]:
    """Return labels as one volume (z, y, x); those drawn on one of several phases count for all."""
    data = np.asarray(layer.data)
    return data.max(axis=0) if data.ndim == 4 else data


def is_own(layer: Layer) -> bool:
    """Tell whether a layer is this dock's."""
    return str(layer.metadata.get(ROLE, "")).startswith(OWN_ROLE)


def _alike(a: Case | None, b: Case | None) -> bool:
    if a is None or b is None:
        return a is b
    return a is b or (a.shape, a.phases, a.times) == (b.shape, b.phases, b.times)
