"""Turns what the person paints on the layer "Tumour" into strokes for the journal, and draws what undo and redo change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from app_model.types import KeyCode, KeyMod
from napari.layers import Labels
from napari.utils.events import Event

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Box, overlay, slices
from napari_breastseg.widgets._journal import Step, Stroke, StrokeJournal
from napari_breastseg.widgets._messages import inform, tell

UNDO_KEY = KeyMod.CtrlCmd | KeyCode.KeyZ
REDO_KEY = KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ
TOOLS = {"paint": "brush", "erase": "eraser", "fill": "fill", "polygon": "polygon"}


class TumourPainter:
    """Watches one tumour layer.

    The layer's own undo history is never used: it does not survive a restart, and replays old voxels into new data. What changed is found
    by comparing the layer with a copy of what was last journaled, so nothing private of napari is read.

    Parameters
    ----------
    layer : Labels
        Its data is a numpy array, the prediction with the annotation laid over it.
    predicted : ndarray, uint8, shape (z, y, x)
    annotation : ndarray, uint8, shape (z, y, x)
        As it stands in the session; kept up to date here, strokes that are still being saved included.
    journal : StrokeJournal
    show_box : callable
        Called with the box that an undo or redo changed, to bring it into view.
    """

    def __init__(
        self,
        layer: Labels,
        predicted: npt.NDArray[np.uint8],
        annotation: npt.NDArray[np.uint8],
        journal: StrokeJournal,
        show_box: Callable[[Box], None],
    ) -> None:
        self.layer = layer
        self.annotation = annotation
        self._predicted = predicted
        self._journal = journal
        self._show_box = show_box
        self._drawn = layer.data.copy()
        layer.events.paint.connect(self._on_paint)
        layer.events.selected_label.connect(self._on_label)
        layer.bind_key(UNDO_KEY, lambda _: self.undo(), overwrite=True)
        layer.bind_key(REDO_KEY, lambda _: self.redo(), overwrite=True)
        journal.changed.connect(self._on_changed)

    def detach(self) -> None:
        """Journal what is painted so far, leave the layer alone and give its keys back."""
        self._on_paint()
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.selected_label.disconnect(self._on_label)
        self.layer.bind_key(UNDO_KEY, None, overwrite=True)
        self.layer.bind_key(REDO_KEY, None, overwrite=True)
        self._journal.changed.disconnect(self._on_changed)

    def undo(self) -> None:
        """Take the last stroke back, also one from before a restart."""
        self._journal.add(Step("undo"))

    def redo(self) -> None:
        """Take the last undo back."""
        self._journal.add(Step("redo"))

    def approve(self, box: Box, where: npt.NDArray[np.bool_], tool: str) -> None:
        """Journal, as one step, that what is shown at the voxels `where` of `box` is right; what was said before stays."""
        self._on_paint()
        place = slices(box)
        where = where & (self.annotation[place] == UNDECIDED)
        if where.any():
            self.annotation[place][where] = self._drawn[place][where]
            self._journal.add(Stroke(box, where, self._drawn[place].copy(), tool))

    def _on_paint(self, event: Event | None = None) -> None:
        try:
            self._journal_changes()
        except Exception as error:
            tell(error)

    def _journal_changes(self) -> None:
        data: npt.NDArray[np.uint8] = self.layer.data
        changed = data != self._drawn
        box = box_of(changed)
        if box is None:
            return
        place = slices(box)
        part, mask = data[place], changed[place]
        strange = mask & (part > TUMOUR)
        if strange.any():
            part[strange] = self._drawn[place][strange]
            self.layer.refresh()
        for value in (BACKGROUND, TUMOUR):
            self._journal_value(box, mask & ~strange & (part == value), value)
        self._drawn[place] = part
        if strange.any():
            inform("Only tumour (label 1) and erasing are kept here; what was painted with another label was taken back.")

    def _journal_value(self, box: Box, mask: npt.NDArray[np.bool_], value: int) -> None:
        inner = box_of(mask)
        if inner is None:
            return
        cut = mask[slices(inner)].copy()
        (z, _), (y, _), (x, _) = box
        (a, b), (c, d), (e, f) = inner
        outer: Box = ((z + a, z + b), (y + c, y + d), (x + e, x + f))
        self.annotation[slices(outer)][cut] = value
        self._journal.add(Stroke(outer, cut, value, TOOLS.get(str(self.layer.mode), "edit")))

    def _on_label(self, event: Event | None = None) -> None:
        if self.layer.selected_label not in (BACKGROUND, TUMOUR):
            self.layer.selected_label = TUMOUR
            inform("This layer knows one label, 1 for tumour; use the eraser for healthy tissue.")

    def _on_changed(self, box: Box, values: npt.NDArray[np.uint8]) -> None:
        """Draw what the session now says within `box`, with the strokes that are still on their way laid over it."""
        place = slices(box)
        self.annotation[place] = values
        for stroke in self._journal.pending():
            self.annotation[slices(stroke.box)][stroke.mask] = np.broadcast_to(stroke.value, stroke.mask.shape)[stroke.mask]
        shown = overlay(self._predicted[place], self.annotation[place])
        self.layer.data[place] = shown
        self._drawn[place] = shown
        self.layer.refresh()
        self._show_box(box)


def box_of(mask: npt.NDArray[np.bool_]) -> Box | None:
    """Return the smallest box around the true voxels, None if there are none."""
    depth = np.flatnonzero(mask.any(axis=(1, 2)))
    if not depth.size:
        return None
    slab = mask[depth[0] : depth[-1] + 1]
    rows, columns = np.flatnonzero(slab.any(axis=(0, 2))), np.flatnonzero(slab.any(axis=(0, 1)))
    (z0, z1), (y0, y1), (x0, x1) = ((int(found[0]), int(found[-1]) + 1) for found in (depth, rows, columns))
    return (z0, z1), (y0, y1), (x0, x1)
