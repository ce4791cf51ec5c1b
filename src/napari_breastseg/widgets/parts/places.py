"""Leads the person through a case: to the next place of which the model is unsure, to the next slice that is to be checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.errors import InputError
from napari_breastseg.loop.places import Place, slices_to_check, unsure_places
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.section import button, row
from napari_breastseg.widgets.view.case_view import CaseView


class Places(QWidget):
    """Four steps: to the next or last place of doubt, and to the next or last slice with tumour that was not reviewed.

    What there is to look at is found anew at each step, off the window's thread: it changes with every stroke.

    Parameters
    ----------
    desk : Desk
    say : callable
        Tells a sentence.
    """

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        super().__init__()
        self._desk, self._say = desk, say
        self._last: Place | None = None
        self.reading = Reading()
        self.next_place = button("Next doubt", "Go to the next place of which the model is unsure, the widest first", lambda: self.place(1))
        self.next_slice = button(
            "Next slice to check", "Go to the next slice that shows tumour and was not reviewed", lambda: self.slice(1)
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row(self.next_place, self.next_slice))

    def leave(self) -> None:
        """Look no more."""
        self.reading.close()

    def refresh(self) -> None:
        """Enable what can be done with the case in front of the person."""
        desk = self._desk
        self.next_place.setEnabled(desk.predicted)
        self.next_slice.setEnabled(desk.painter is not None)
        self.next_slice.setVisible(desk.view is None or not desk.view.case.flat)

    def on_case(self) -> None:
        """Forget the case that was open before."""
        self.reading.forget()
        self._last = None

    def place(self, step: int) -> None:
        """Go `step` places on from the one that was gone to last; after the last comes the first."""
        view, painter = self._desk.view, self._desk.painter
        probability = None if view is None else view.layer("probability")
        if view is None or painter is None or probability is None:
            raise InputError("There is no prediction whose doubts could be shown. Predict first.")
        data, annotation, spacing = probability.data, painter.annotation.copy(), view.case.geometry.spacing
        self.reading.ask(
            "places", lambda: unsure_places(np.asarray(data), annotation, spacing), lambda found: self._go_to_place(view, found, step)
        )

    def slice(self, step: int) -> None:
        """Go to the nearest slice to check on one side of the present one; after the last comes the first."""
        session, case_id, view, painter = self._desk.session, self._desk.case_id, self._desk.view, self._desk.painter
        axis = None if view is None else view.slice_axis()
        if session is None or case_id is None or view is None or painter is None or axis is None:
            raise InputError("This view shows no single slice. Open a case, and show it in the 2-D view.")
        mask = painter.layer.data.copy()
        self.reading.ask(
            "slices",
            lambda: slices_to_check(mask, session.marks(case_id), axis),
            lambda found: self._go_to_slice(view, found, axis, step),
        )

    def _go_to_place(self, view: CaseView, places: list[Place], step: int) -> None:
        if view is not self._desk.view:
            return
        if not places:
            self._last = None
            self._say("The model is unsure of nothing wider than a border that you have not said something about.")
            return
        number = self._number(places, step) % len(places)
        place = self._last = places[number]
        view.go_to(place.index)
        unit = "mm" if view.case.geometry.unit == "mm" else "pixels"
        self._say(f"Doubt {number + 1} of {len(places)}: {place.width:.0f} {unit} wide. Paint or erase there, or leave it.")

    def _number(self, places: list[Place], step: int) -> int:
        """Return which place comes `step` after the last one; that one may be settled by now, or be less wide."""
        last = self._last
        if last is None:
            return min(step, 0)
        if last in places:
            return places.index(last) + step
        narrower = next((number for number, place in enumerate(places) if place.width <= last.width), 0)
        return narrower if step > 0 else narrower - 1

    def _go_to_slice(self, view: CaseView, found: list[int], axis: int, step: int) -> None:
        if view is not self._desk.view or view.slice_axis() != axis:
            return
        here = view.slice_index(axis)
        others = [index for index in found if index != here]
        if not others:
            self._say("No other slice with tumour is left to check.")
            return
        ahead = [index for index in others if (index - here) * step > 0] or others
        target = min(ahead) if step > 0 else max(ahead)
        view.show_slice(axis, target)
        self._say(f"Slice {'zyx'[axis]} = {target}: {len(others)} to check, this one included.")
