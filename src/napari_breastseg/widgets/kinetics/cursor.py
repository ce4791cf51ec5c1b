"""The curve of the voxels under the mouse, while it moves over the canvas."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_breastseg.case import Case
from napari_breastseg.errors import BreastSegError
from napari_breastseg.kinetics import Curve, neighbourhood_curve
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.kinetics.blocks import Blocks
from napari_breastseg.widgets.kinetics.study import Index, Study

PAUSE_MS = 33
"""At most thirty curves a second."""


@dataclass(frozen=True)
class Probe:
    """A curve and the voxel (z, y, x) around which it was read."""

    index: Index
    curve: Curve


class CursorCurve(QObject):
    """Reads the curve around the voxel under the mouse; between two readings only the newest place counts.

    What is in memory is read at once, what is stored on a thread of its own.

    Signals
    -------
    moved
        There is another `probe`, or none.
    failed : str
        What is under the mouse cannot be read, and why.
    """

    moved = Signal()
    failed = Signal(str)

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.probe: Probe | None = None
        self.reading = Reading()
        self._study = study
        self._position: tuple[float, ...] | None = None
        self._asked: Index | None = None
        self._source: Case | None = None
        self._blocks: Case | None = None
        self._last = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._read)
        study.viewer.mouse_move_callbacks.append(self._on_mouse)
        study.viewer.dims.events.point.connect(self._on_slice)
        study.changed.connect(self.clear)

    def close(self) -> None:
        """Look at the mouse no more."""
        viewer = self._study.viewer
        self._timer.stop()
        viewer.mouse_move_callbacks.remove(self._on_mouse)
        viewer.dims.events.point.disconnect(self._on_slice)
        self.reading.close()
        self._source = self._blocks = None

    def clear(self) -> None:
        """Forget the curve, as that of another examination."""
        self.reading.forget()
        self.probe = self._position = self._asked = self._source = self._blocks = None
        self.moved.emit()

    def _on_mouse(self, viewer: Any, event: Any) -> None:
        self._position = tuple(event.position)
        self._soon()

    def _on_slice(self, event: Any = None) -> None:
        """Follow the slider as well: another slice comes under a mouse that rests."""
        dims = self._study.viewer.dims
        if self._position is not None and len(self._position) == dims.ndim:
            self._position = tuple(p if axis in dims.displayed else dims.point[axis] for axis, p in enumerate(self._position))
            self._soon()

    def _soon(self) -> None:
        if not self._timer.isActive():
            passed = 1000 * (time.monotonic() - self._last)
            self._timer.start(max(0, round(PAUSE_MS - passed)))

    def _read(self) -> None:
        """Read where the mouse is now; in the 3-D view, outside the image and while a reading is on its way the last curve stays."""
        study = self._study
        self._last = time.monotonic()
        if study.timing is None or self._position is None or study.viewer.dims.ndisplay == 3 or self.reading.busy:
            return
        index = study.voxel_at(self._position)
        if index is None or index == self._asked:
            return
        self._asked = index
        case = self._readable()
        if isinstance(case.images, np.ndarray):
            self._take(index, _curve(case, index))
        else:
            self.reading.ask("curve", lambda: _curve(case, index), lambda found: self._arrived(index, found))

    def _arrived(self, index: Index, found: Curve | str) -> None:
        self._take(index, found)
        self._soon()  # the mouse may be elsewhere by now

    def _take(self, index: Index, found: Curve | str) -> None:
        if isinstance(found, str):
            self.failed.emit(found)
        else:
            self.probe = Probe(index, found)
            self.moved.emit()

    def _readable(self) -> Case:
        """Return the case, through blocks if it is not in memory."""
        case = self._study.case
        assert case is not None
        if case is not self._source or self._blocks is None:
            self._source = case
            self._blocks = case if isinstance(case.images, np.ndarray) else replace(case, images=Blocks(case.images))
        return self._blocks


def _curve(case: Case, index: Index) -> Curve | str:
    """Return the curve, or why there is none: a notice for every voxel that the mouse passes over would bury the window."""
    try:
        return neighbourhood_curve(case, index)
    except BreastSegError as error:
        return str(error)
