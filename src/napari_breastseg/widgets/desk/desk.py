"""What is open: the session, the case in front of the person, its layers and the journal that its strokes go to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication

from napari_breastseg.case import BACKGROUND, REFINED_WITH, Box, Case, Prediction, overlay
from napari_breastseg.errors import SessionError
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.loop.recorder import Mark
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk.jobs import JobRunner
from napari_breastseg.widgets.desk.journal import StrokeJournal
from napari_breastseg.widgets.desk.messages import inform, plain, tell
from napari_breastseg.widgets.desk.opening import Opened, Shown, copying, gathering, opening, reading
from napari_breastseg.widgets.view import layers
from napari_breastseg.widgets.view.case_view import CaseView, make_room
from napari_breastseg.widgets.view.lazy import Slabs
from napari_breastseg.widgets.view.painting import TumourPainter
from napari_breastseg.widgets.view.view_keeper import ViewKeeper
from napari_breastseg.widgets.view.view_state import ViewState, capture, restore_layers, restore_place, restore_tool

if TYPE_CHECKING:
    from napari_breastseg.inference.grids import Region

_RELEASE_MS = 50
"""How often is looked whether the mouse was released."""
MOST_TOLD = 3
"""Cases of which it is said one by one why they were left out."""


def mouse_is_down() -> bool:
    """Tell whether a mouse button is held, as while painting."""
    return QApplication.mouseButtons() != Qt.MouseButton.NoButton


class Desk(QObject):
    """Holds what is open and changes it; the sections of the dock show it.

    Signals
    -------
    changed
        Another session, case, prediction or model is in front of the person.
    saved : int
        A correction of the case is durable under this seq.

    Attributes
    ----------
    recovered : tuple of str
        What was recovered when the session was opened, until something new happens in it.
    interrupted : str or None
        The kind of the job that ran when the case was last looked at, until something new happens.
    done : bool
        Whether the person is done with the case: no prediction adds to what was approved.
    refined : bool
        Whether the prediction that is shown followed the strokes on the case.
    refusal : str
        Why the case is not shown although it is chosen; empty if it is.
    """

    changed = Signal()
    saved = Signal(int)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.jobs = JobRunner()
        self.closed = False
        self.session: Session | None = None
        self.locked_by = ""
        self.recovered: tuple[str, ...] = ()
        self.interrupted: str | None = None
        self.refusal = ""
        self.slabs = Slabs()
        self.case_id: str | None = None
        self.view: CaseView | None = None
        self.journal: StrokeJournal | None = None
        self.painter: TumourPainter | None = None
        self.model: str | None = None
        self.refined = False
        self.region: Region | None = None
        self.done = False
        self._predicted: npt.NDArray[np.uint8] | None = None
        self._keeper: ViewKeeper | None = None
        self.jobs.started.connect(self._on_news)
        self.saved.connect(self._on_news)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        QTimer.singleShot(0, layers.warm_up)

    @property
    def read_only(self) -> bool:
        """Whether the session can only be looked at."""
        return self.session is not None and self.session.read_only

    @property
    def predicted(self) -> bool:
        """Whether the case has a prediction."""
        return self._predicted is not None

    @property
    def corrected(self) -> bool:
        """Whether the person has corrected anything in this case."""
        return self.journal is not None and (self.journal.seq > 0 or self.journal.unsaved > 0)

    def use_case(self, case: Case, folder: Path, link: Path | None = None) -> None:
        """Copy a case into the open session, or into the one in `folder`, which is made if need be, and show it.

        With `link` the images stay in that file or folder, and the session keeps where they are.
        """
        session, slabs = self.session, self.slabs
        self.jobs.start("case", "Taking the case into the session", lambda: copying(session, folder, case, link, slabs), self._show)

    def use_cases(self, cases: Sequence[ListedCase], folder: Path, linked: bool = False) -> None:
        """Copy or link many cases into the open session, or into the one in `folder`, and show the first of them."""
        session, slabs = self.session, self.slabs
        self.jobs.start("case", "Taking the cases into the session", lambda: gathering(session, folder, cases, linked, slabs), self._show)

    def open_session(self, folder: Path, case_id: str | None = None) -> None:
        """Open a session and show one of its cases, the one that was looked at last if none is named."""
        if self.session is not None and self.session.path == folder.absolute():
            raise SessionError(f"The session {folder} is open already. Choose one of its cases above.")
        slabs = self.slabs
        self.jobs.start("case", "Opening the session", lambda: opening(folder, case_id, slabs), self._show)

    def show_case(self, case_id: str) -> None:
        """Show another case of the open session."""
        session, locked_by, slabs = self.session, self.locked_by, self.slabs
        if session is not None and (case_id != self.case_id or self.refusal):
            self.jobs.start("case", "Opening the case", lambda: reading(session, locked_by, case_id, slabs), self._show)

    def follow_links(self) -> None:
        """Consent to reading the images outside of the session that its cases link to, and show the case that was refused."""
        if self.session is not None and self.case_id is not None:
            self.session.trust_links()
            self.show_case(self.case_id)

    def show_prediction(self, prediction: Prediction) -> None:
        """Show a finished prediction with the annotation laid over it.

        Not while a mouse button is down: a stroke that is being painted would go on upon another mask.
        """
        self._show_prediction(self.view, prediction)

    def _show_prediction(self, view: CaseView | None, prediction: Prediction) -> None:
        if view is None or view is not self.view or self.painter is None:
            return
        if mouse_is_down():
            QTimer.singleShot(_RELEASE_MS, lambda: self._show_prediction(view, prediction))
            return
        first = not self.predicted
        self._take(prediction)
        self._attach(self.painter.annotation)
        QTimer.singleShot(0, lambda: self._show_rest(view, prediction, first))  # as little as can be at a time: painting goes on

    def _show_rest(self, view: CaseView, prediction: Prediction, first: bool) -> None:
        if view is not self.view or self.painter is None:
            return
        if self.jobs.kind != "predict":  # or the next one comes in there already
            view.show_prediction(prediction)
        if first:
            view.show_largest_slice(self.painter.layer.data)
        self.changed.emit()

    def tumour_layer(self) -> Labels | None:
        """Return the layer to paint on, put back if the person removed it."""
        if self.painter is None:
            return None
        if self.painter.layer not in self.viewer.layers:
            self._attach(self.painter.annotation)
            self.changed.emit()
        return self.painter.layer

    def close(self) -> None:
        """Save what waits, leave the layers for looking at, stop what runs, and close the session once nothing uses it."""
        if self.closed:
            return
        self.closed = True
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._leave_case()
        session, self.session = self.session, None
        if session is not None:
            self.jobs.close(session.close)
        else:
            self.jobs.cancel()

    def _show(self, opened: Opened) -> None:
        if self.closed:
            opened.session.close()
            return
        same_session = opened.session is self.session
        if not (same_session and opened.case_id == self.case_id and self.view is not None):
            tool = None if self.painter is None or not same_session else str(self.painter.layer.mode)
            stuck = self._leave_case()
            if stuck is not None:
                stuck.visible = False
            if opened.shown is None:
                make_room(self.viewer, None, None)
            else:
                make_room(self.viewer, opened.session.path, opened.case_id)
            if self.session is not None and not same_session:
                self.session.close()
            self.session, self.locked_by = opened.session, opened.locked_by
            self.case_id, self.refusal = opened.case_id, opened.refusal
            if opened.shown is not None and opened.case_id is not None:
                self._show_case(opened.session, opened.case_id, opened.shown, tool)
            if not same_session:
                self.recovered = opened.session.recovered
                for sentence in self.recovered:
                    inform(sentence)
        for sentence in opened.left_out[:MOST_TOLD]:
            inform(sentence)
        if len(opened.left_out) > MOST_TOLD:
            inform(f"{len(opened.left_out) - MOST_TOLD} more were left out.")
        self.changed.emit()

    def _show_case(self, session: Session, case_id: str, shown: Shown, tool: str | None) -> None:
        """Show a case as it was looked at last: the image and the tumour at once, as little as that needs, and the rest after them.

        The `tool` that is in the person's hand stays there; without one that of the last time is taken up again.
        """
        view = self.view = CaseView(self.viewer, shown, session.path, case_id, self.slabs)
        self.journal = StrokeJournal(session, case_id)
        self.journal.failed.connect(tell)
        self.journal.saved.connect(self.saved)
        self.journal.changed.connect(self._on_steps)
        self.journal.marked.connect(self._on_marked)
        self.done = shown.done
        if shown.prediction is not None:
            self._take(shown.prediction)
        layer = self._attach(shown.annotation, shown.mask)
        if tool is not None and layer.editable:
            layer.mode = tool
        if shown.view is None:
            view.begin_at(shown.start)
        else:
            restore_place(self.viewer, shown.view)
            restore_layers(self.viewer, view, shown.view)
            self.interrupted = shown.view.running
        view.reveal()
        QTimer.singleShot(0, lambda: self._complete(session, case_id, view, shown, tool is None))

    def _take(self, prediction: Prediction) -> None:
        self._predicted, self.model, self.refined = prediction.refined, prediction.model, REFINED_WITH in prediction.details
        self.region = prediction.details.get("region")

    def _complete(self, session: Session, case_id: str, view: CaseView, shown: Shown, opened: bool) -> None:
        """Add the layers that are not in the way of seeing the case at once, and begin to keep how it is looked at."""
        if view is not self.view:
            return
        view.complete(None if self.jobs.busy else shown.prediction)
        if shown.view is not None:
            restore_layers(self.viewer, view, shown.view)
            if opened:
                restore_tool(self.viewer, view, shown.view)
        if not self.read_only:
            self._keeper = ViewKeeper(session, case_id, self._look)

    def _look(self) -> ViewState | None:
        """Return how the case is looked at, None while its layers are being taken away."""
        if self.view is None or self.view.layer("case") is None:
            return None
        return capture(self.viewer, self.view, self.jobs.kind)

    def _on_news(self, _: object = None) -> None:
        self.recovered, self.interrupted = (), None

    def _attach(self, annotation: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8] | None = None) -> Labels:
        """Show the annotation on the tumour layer, or the mask if that is known already, and watch it."""
        assert self.view is not None and self.journal is not None
        old = None
        if self.painter is not None:
            self.painter.detach()
            old = self.painter.layer
        predicted = self._below(self.view)
        shown = overlay(predicted, annotation) if mask is None else mask
        layer = self.view.show_tumour(shown, self.model, not self.read_only, old)
        self.painter = TumourPainter(layer, predicted, annotation, self.journal, self.view.bring_into_view)
        return layer

    def _below(self, view: CaseView) -> npt.NDArray[np.uint8]:
        """Return what shows where nothing is annotated."""
        return np.full(view.case.shape, BACKGROUND, np.uint8) if self._predicted is None or self.done else self._predicted

    def _on_steps(self, box: Box, values: npt.NDArray[np.uint8]) -> None:
        """Let the tumour layer that is there now follow what undo, redo or another process changed."""
        if self.painter is not None:
            self.painter.follow(box, values)

    def _on_marked(self, mark: Mark) -> None:
        if mark.what == "case-done" and mark.value != self.done:
            self.done = mark.value
            self._lay_over(self.view)

    def _lay_over(self, view: CaseView | None) -> None:
        """Show the annotation over what shows below it now; not while a stroke is being painted."""
        if view is None or view is not self.view or self.painter is None:
            return
        if mouse_is_down():
            QTimer.singleShot(_RELEASE_MS, lambda: self._lay_over(view))
            return
        self.painter.lay_over(self._below(view))
        self.changed.emit()

    def _leave_case(self) -> Labels | None:
        """Stop watching the tumour layer, which can then no longer be painted on, and save what waits.

        A layer with strokes that could not be saved is returned; it is the person's from then on, so that nothing takes its place.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        painter, self.painter = self.painter, None
        journal, self.journal = self.journal, None
        if self.view is not None:
            self.view.leave()
        self.view, self.case_id, self._predicted, self.model, self.refusal = None, None, None, None, ""
        self.refined, self.region, self.done = False, None, False
        if painter is not None:
            painter.detach()
            painter.layer.mode = "pan_zoom"
            painter.layer.editable = False
        unsaved = 0 if journal is None else journal.close()
        if not unsaved or painter is None:
            return None
        painter.layer.name = f"{painter.layer.name}, not saved"
        layers.disown(painter.layer)
        name = plain(painter.layer.name)
        tell(SessionError(f'{unsaved} stroke(s) could not be saved. They are on the layer "{name}" still: save that layer as NIfTI now.'))
        return painter.layer

    def _on_inserted(self, event: Any) -> None:
        if self.view is not None:
            self.view.disown_copy(event.value)

    def _on_removed(self, event: Any) -> None:
        self.changed.emit()
