"""The kinetics of the lesion, measured anew while it is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_breastseg.case import TUMOUR, Box, Case, box_around, slices
from napari_breastseg.errors import BreastSegError
from napari_breastseg.kinetics import LesionKinetics, Thresholds, Timing, lesion_kinetics
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.kinetics.study import Study, labelled

REST_MS = 250
"""How long the hand rests before the lesion is measured."""


@dataclass(frozen=True)
class _Measured:
    """What was measured of which voxels, and how; or why it could not be."""

    box: Box
    mask: npt.NDArray[np.bool_]
    how: tuple[Case, Timing, Thresholds]
    kinetics: LesionKinetics | None
    reason: str = ""

    def holds(self, box: Box, mask: npt.NDArray[np.bool_], how: tuple[Case, Timing, Thresholds]) -> bool:
        same_way = how[0] is self.how[0] and how[1:] == self.how[1:]
        return same_way and box == self.box and bool(np.array_equal(mask, self.mask))


class LesionWatch(QObject):
    """Measures the 1s of the tumour layer on a thread of its own, again whenever they or the timing change.

    Signals
    -------
    measured
        There are other `kinetics`, or none, for the `reason` that is given, if any.
    """

    measured = Signal()

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.reading = Reading()
        self._study = study
        self._layer: Labels | None = None
        self._measured: _Measured | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._ask)
        study.changed.connect(self._forget)
        study.looked.connect(self._watch)
        study.timed.connect(self._ask)

    @property
    def kinetics(self) -> LesionKinetics | None:
        """What was measured last; None without a lesion."""
        return None if self._measured is None else self._measured.kinetics

    @property
    def reason(self) -> str:
        """Why a lesion could not be measured; empty if it was."""
        return "" if self._measured is None else self._measured.reason

    @property
    def busy(self) -> bool:
        """Whether a measurement is still to come."""
        return self._rest.isActive() or self.reading.busy

    def close(self) -> None:
        """Watch no more."""
        self._rest.stop()
        self._leave()
        self.reading.close()

    def _forget(self) -> None:
        self.reading.forget()
        self._measured = None
        self.measured.emit()

    def _watch(self) -> None:
        """Watch the tumour layer that is there now."""
        layer = self._study.tumour()
        if layer is not self._layer:
            self._leave()
            self._layer = layer
            for event in self._changes():
                event.connect(self._on_painted)
        self._rest.start()

    def _changes(self) -> tuple[Any, ...]:
        """Return what tells that the mask may be another one: strokes, other data, and being drawn again, as after an undo."""
        events = None if self._layer is None else self._layer.events
        return () if events is None else (events.paint, events.data, events.set_data)

    def _leave(self) -> None:
        for event in self._changes():
            event.disconnect(self._on_painted)
        self._layer = None

    def _on_painted(self, event: Any = None) -> None:
        self._rest.start()

    def _ask(self) -> None:
        case, timing, layer, known = self._study.case, self._study.timing, self._layer, self._measured
        if case is None or timing is None or layer is None:
            if known is not None:
                self._forget()
            return
        how = (case, timing, self._study.thresholds)
        self.reading.ask("lesion", lambda: _measure(lambda: labelled(layer), how, known), self._take)

    def _take(self, measured: _Measured | None) -> None:
        if measured is not self._measured:
            self._measured = measured
            self.measured.emit()


def _measure(read: Callable[[], npt.NDArray[Any]], how: tuple[Case, Timing, Thresholds], known: _Measured | None) -> _Measured | None:
    """Measure where a mask is 1, unless that is known already; None if it is nowhere."""
    case, timing, thresholds = how
    chosen = read() == TUMOUR
    box = box_around(chosen)
    if box is None:
        return None
    part = chosen[slices(box)]
    if known is not None and known.holds(box, part, how):
        return known
    try:
        return _Measured(box, part, how, lesion_kinetics(case, timing, chosen, thresholds))
    except BreastSegError as error:
        return _Measured(box, part, how, None, str(error))
