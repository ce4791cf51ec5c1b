"""Turns what the person paints on the layer "Tumour" into strokes for the journal, and draws what undo and redo change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from app_model.types import KeyCode, KeyMod
from napari.layers import Labels
from napari.utils.events import Event
from qtpy.QtCore import QTimer

from napari_breastseg.case import BACKGROUND, TUMOUR, Box
from napari_breastseg.editing.change import Change
from napari_breastseg.loop.recorder import Checkout, Step
from napari_breastseg.loop.strokes import PaintedMask, box_of_indices
from napari_breastseg.widgets.desk.journal import StrokeJournal
from napari_breastseg.widgets.desk.messages import inform, tell

UNDO_KEY = KeyMod.CtrlCmd | KeyCode.KeyZ
REDO_KEY = KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ
TOOLS = {"paint": "brush", "erase": "eraser", "fill": "fill", "polygon": "polygon"}


class TumourPainter:
    """Watches one tumour layer.

    The layer's own undo history is never used: it does not survive a restart, and replays old voxels into new data. Of napari's history
    items only the places are read, which bound where the layer is compared with what was last journaled.

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
        self._mask = PaintedMask(layer.data, predicted, annotation)
        self._journal = journal
        self._show_box = show_box
        self._announced: list[Box] = []
        layer.events.paint.connect(self._on_paint, position="first")  # others ask what was painted
        layer.events.selected_label.connect(self._on_label)
        layer.events.data.connect(self._on_data)
        layer.bind_key(UNDO_KEY, lambda _: self.undo(), overwrite=True)
        layer.bind_key(REDO_KEY, lambda _: self.redo(), overwrite=True)
        self._on_label()  # of a layer that was somebody else's in between

    @property
    def annotation(self) -> npt.NDArray[np.uint8]:
        """What the person said, strokes that are still being saved included."""
        return self._mask.annotation

    @property
    def voxels(self) -> int:
        """Number of voxels that are tumour, known without looking at the whole mask."""
        return self._mask.voxels

    def detach(self) -> None:
        """Journal what is painted so far, leave the layer alone and give its keys back."""
        self._journal_safely()
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.selected_label.disconnect(self._on_label)
        self.layer.events.data.disconnect(self._on_data)
        self.layer.bind_key(UNDO_KEY, None, overwrite=True)
        self.layer.bind_key(REDO_KEY, None, overwrite=True)
        self._announced.clear()

    def undo(self) -> None:
        """Take the last stroke back, also one from before a restart."""
        self._look_again()
        self._journal.add(Step("undo"))

    def redo(self) -> None:
        """Take the last undo back."""
        self._look_again()
        self._journal.add(Step("redo"))

    def go_back(self, seq: int) -> None:
        """Make the annotation as it stood at `seq` current again, by a new edit that undo takes back."""
        self._look_again()
        self._journal.add(Checkout(seq))

    def approve(self, box: Box, where: npt.NDArray[np.bool_], tool: str) -> None:
        """Journal, as one step, that what is shown at the voxels `where` of `box` is right; what was said before stays."""
        self._journal_safely()
        stroke = self._mask.approve(box, where, tool)
        if stroke is not None:
            self._journal.add(stroke)

    def apply(self, change: Change, tool: str) -> bool:
        """Do what a tool found, as one step that undo takes back; False if that is so already."""
        self._journal_safely()
        stroke = self._mask.apply(change, tool)
        if stroke is None:
            return False
        self._journal.add(stroke)
        self.layer.refresh()
        return True

    def follow(self, box: Box, values: npt.NDArray[np.uint8]) -> None:
        """Draw what the session now says within `box`."""
        self._mask.follow(box, values, self._journal.waiting())
        self.layer.refresh()
        self._show_box(box)

    def lay_over(self, predicted: npt.NDArray[np.uint8]) -> None:
        """Draw the annotation over something else than before."""
        self._mask.lay_over(predicted)
        self.layer.refresh()

    def _on_paint(self, event: Event) -> None:
        atoms = getattr(event, "value", ())
        box = box_of_indices((atom[0] if isinstance(atom, tuple) else None for atom in atoms), self.layer.data.shape)
        self._journal_safely(box)
        if box is not None and len(atoms) == 1:
            # Napari tells of an edit outside a drag, such as a polygon, just before it makes it.
            self._announced.append(box)
            QTimer.singleShot(0, self._look_again)

    def _look_again(self) -> None:
        while self._announced:
            self._journal_safely(self._announced.pop())

    def _journal_safely(self, within: Box | None = None) -> None:
        try:
            self._journal_changes(within)
        except Exception as error:
            tell(error)

    def _journal_changes(self, within: Box | None) -> None:
        painted = self._mask.take(TOOLS.get(str(self.layer.mode), "edit"), within)
        for stroke in painted.strokes:
            self._journal.add(stroke)
        if painted.refused:
            self.layer.refresh()
            inform("Only tumour (label 1) and erasing are kept here; what was painted with another label was taken back.")

    def _on_data(self, event: Event | None = None) -> None:
        """Take what a plugin or "Convert data type" put in the place of the mask as painted; the mask itself stays the layer's data."""
        given, mask = self.layer.data, self._mask.painted
        if given is mask:
            return
        if given.shape == mask.shape:
            np.copyto(mask, np.clip(given, BACKGROUND, TUMOUR + 1), casting="unsafe")  # beyond the labels that are known: refused
        else:
            inform(f"The mask of this case has the shape {mask.shape}; data of another shape was not taken.")
        self.layer.data = mask
        self._journal_safely()

    def _on_label(self, event: Event | None = None) -> None:
        if self.layer.selected_label not in (BACKGROUND, TUMOUR):
            self.layer.selected_label = TUMOUR
            inform("This layer knows one label, 1 for tumour; use the eraser for healthy tissue.")
