"""The dock "Breast segmentation": Case, Predict, Explain, Correct, Learn, Versions, in the order of the work."""

from __future__ import annotations

from collections.abc import Callable

import napari

from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.keys import Keys
from napari_breastseg.widgets.parts.docked import Docked
from napari_breastseg.widgets.sections.case import CaseSection
from napari_breastseg.widgets.sections.correct import CorrectSection
from napari_breastseg.widgets.sections.explain import ExplainSection
from napari_breastseg.widgets.sections.keys import KeysSection
from napari_breastseg.widgets.sections.learn import LearnSection
from napari_breastseg.widgets.sections.predict import PredictSection
from napari_breastseg.widgets.sections.versions import VersionsSection


class BreastSegWidget(Docked):
    """The whole work on an examination, top to bottom.

    Closing the dock or the window saves what waits, stops what runs, gives the keys back and closes the session.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari when the dock is opened from its menus.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.desk = Desk(napari_viewer)
        self.case = CaseSection(self.desk, lambda: self.predict.device.currentText())
        self.predict = PredictSection(self.desk)
        self.explain = ExplainSection(self.desk, self.predict.device.currentText, self.predict.region)
        self.correct = CorrectSection(self.desk)
        self.learn = LearnSection(self.desk, self.predict.device.currentText, self.predict.start)
        self.versions = VersionsSection(self.desk)
        self.keys = Keys(napari_viewer, self._acts())
        self.key_list = KeysSection(self.desk, self.keys)
        self.fill(self.case, self.predict, self.explain, self.correct, self.learn, self.versions, self.key_list)

    def _acts(self) -> dict[str, Callable[[], None]]:
        """Return what the keys do; a button that is disabled does nothing."""
        correct, shape, places = self.correct, self.correct.shape, self.correct.places
        return {
            "next_doubt": lambda: places.place(1),
            "previous_doubt": lambda: places.place(-1),
            "next_slice": lambda: places.slice(1),
            "previous_slice": lambda: places.slice(-1),
            "accept": correct.accept,
            "case_done": correct.case_done.click,
            "paint": correct.paint.click,
            "erase": correct.erase.click,
            "show_tumour": correct.show_tumour,
            "outline": correct.outline,
            "between": shape.between.click,
            "copy": shape.copy.click,
            "grow": shape.grow.click,
            "refine": correct.refine.refine.click,
            "next_case": lambda: self.case.step(1),
            "previous_case": lambda: self.case.step(-1),
        }

    def leave(self, window_closes: bool) -> None:
        """Save what waits, stop what runs, give the keys back and close the session."""
        for section in (self.case, self.explain, self.correct, self.learn, self.versions):
            section.leave()
        self.keys.leave()
        self.desk.close()

    def abandon(self) -> None:
        """Close the session; the sections are gone."""
        self.keys.leave()
        self.desk.close()
