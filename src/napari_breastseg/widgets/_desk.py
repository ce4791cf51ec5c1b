"""What is open: the session, the case in front of the person, its layers and the journal that its strokes go to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.case import BACKGROUND, Case, Prediction, overlay
from napari_breastseg.errors import SessionError, SessionLockedError
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.session.lock import owner
from napari_breastseg.widgets._case_view import CaseView
from napari_breastseg.widgets._jobs import JobRunner
from napari_breastseg.widgets._journal import StrokeJournal
from napari_breastseg.widgets._messages import tell
from napari_breastseg.widgets._painting import TumourPainter


@dataclass(frozen=True)
class Opened:
    """A case of a session, read and ready to be shown."""

    session: Session
    locked_by: str
    case_id: str | None
    case: Case | None
    annotation: npt.NDArray[np.uint8] | None
    prediction: Prediction | None


class Desk(QObject):
    """Holds what is open and changes it; the sections of the dock show it.

    Signals
    -------
    changed
        Another session, case, prediction or model is in front of the person.
    saved : int
        A correction of the case is durable under this seq.
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
        self.case_id: str | None = None
        self.view: CaseView | None = None
        self.journal: StrokeJournal | None = None
        self.painter: TumourPainter | None = None
        self.model: str | None = None
        self._predicted: npt.NDArray[np.uint8] | None = None
        viewer.layers.events.removed.connect(self._on_removed)

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

    def use_case(self, case: Case, folder: Path) -> None:
        """Copy a case into the open session, or into the one in `folder`, which is made if need be, and show it."""
        session = self.session
        self.jobs.start("case", f"Copying {case.name} into the session", lambda: _copied(session, folder, case), self._show)

    def open_session(self, folder: Path, case_id: str | None = None) -> None:
        """Open a session and show one of its cases, the one that came in last if none is named."""
        if self.session is not None and self.session.path == folder.absolute():
            raise SessionError(f"The session {folder} is open already. Choose one of its cases above.")
        self.jobs.start("case", "Opening the session", lambda: _opened(folder, case_id), self._show)

    def show_case(self, case_id: str) -> None:
        """Show another case of the open session."""
        session, locked_by = self.session, self.locked_by
        if session is not None and case_id != self.case_id:
            self.jobs.start("case", "Opening the case", lambda: _read(session, locked_by, case_id, None), self._show)

    def show_prediction(self, prediction: Prediction) -> None:
        """Show a finished prediction with the annotation laid over it on a fresh tumour layer."""
        if self.view is None or self.painter is None:
            return
        first = not self.predicted
        self.view.show_prediction(prediction)
        self._predicted, self.model = prediction.refined, prediction.model
        self._attach(self.painter.annotation)
        if first:
            self.view.show_largest_slice(self.painter.layer.data)
        self.changed.emit()

    def tumour_layer(self) -> Labels | None:
        """Return the layer to paint on, put back if the person removed it."""
        if self.painter is None:
            return None
        if self.painter.layer not in self.viewer.layers:
            self._attach(self.painter.annotation)
        return self.painter.layer

    def close(self) -> None:
        """Save what waits, leave the layers for looking at, stop what runs, and close the session once nothing uses it."""
        if self.closed:
            return
        self.closed = True
        self.viewer.layers.events.removed.disconnect(self._on_removed)
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
        if not (same_session and opened.case_id == self.case_id):
            left = self.view
            unsaved = self._leave_case()
            if left is not None:
                if not unsaved:
                    left.remove_results()
                left.hide_images()
            if self.session is not None and not same_session:
                self.session.close()
            self.session, self.locked_by = opened.session, opened.locked_by
            if opened.case is not None:
                self._show_case(opened)
        self.changed.emit()

    def _show_case(self, opened: Opened) -> None:
        assert opened.case is not None and opened.case_id is not None and opened.annotation is not None
        self.case_id = opened.case_id
        self.view = CaseView(self.viewer, opened.case, opened.session.path, opened.case_id)
        self.view.show_images()
        self.journal = StrokeJournal(opened.session, opened.case_id)
        self.journal.failed.connect(tell)
        self.journal.saved.connect(self.saved)
        if opened.prediction is not None:
            self.view.show_prediction(opened.prediction)
            self._predicted, self.model = opened.prediction.refined, opened.prediction.model
        layer = self._attach(opened.annotation)
        self.view.show_largest_slice(layer.data)

    def _attach(self, annotation: npt.NDArray[np.uint8]) -> Labels:
        """Make a fresh tumour layer and watch it."""
        assert self.view is not None and self.journal is not None
        old = None
        if self.painter is not None:
            self.painter.detach()
            old = self.painter.layer
        predicted = np.full(self.view.case.shape, BACKGROUND, np.uint8) if self._predicted is None else self._predicted
        layer = self.view.show_tumour(overlay(predicted, annotation), self.model, not self.read_only, old)
        self.painter = TumourPainter(layer, predicted, annotation, self.journal, self.view.bring_into_view)
        return layer

    def _leave_case(self) -> int:
        """Stop watching the tumour layer, which can then no longer be painted on, save what waits; return the strokes that could not be."""
        painter, self.painter = self.painter, None
        journal, self.journal = self.journal, None
        self.view, self.case_id, self._predicted, self.model = None, None, None, None
        if painter is not None:
            painter.detach()
            painter.layer.mode = "pan_zoom"
            painter.layer.editable = False
        unsaved = 0 if journal is None else journal.close()
        if unsaved:
            tell(SessionError(f"{unsaved} stroke(s) could not be saved. They are on the layer Tumour still: save that layer as NIfTI now."))
        return unsaved

    def _on_removed(self, event: Any) -> None:
        self.changed.emit()


def _opened(folder: Path, case_id: str | None) -> Job[Opened]:
    yield Progress(0, 2, "Opening the session")
    locked_by = ""
    try:
        session = Session.open(folder)
    except SessionLockedError:
        session = Session.open(folder, read_only=True)
        holder = owner(folder) or {}
        locked_by = f"process {holder.get('pid', '?')} on {holder.get('host', 'another computer')}, since {holder.get('started', '?')}"
    try:
        cases = session.cases
        wanted = case_id if case_id in cases else (cases[-1] if cases else None)
        return (yield from _read(session, locked_by, wanted, None))
    except BaseException:
        session.close()
        raise


def _copied(session: Session | None, folder: Path, case: Case) -> Job[Opened]:
    yield Progress(0, 2, "Copying the images into the session")
    made = Session.create(folder) if session is None else None
    used = made or session
    assert used is not None
    try:
        return (yield from _read(used, "", used.add_case(case), case))
    except BaseException:
        if made is not None:
            made.close()
        raise


def _read(session: Session, locked_by: str, case_id: str | None, case: Case | None) -> Job[Opened]:
    """Read a case, its annotation and its latest prediction into memory."""
    if case_id is None:
        return Opened(session, locked_by, None, None, None, None)
    if case is None:
        stored = session.case(case_id)
        images = np.empty(stored.images.shape, np.float32)
        for phase in range(stored.phases):
            yield Progress(phase, stored.phases + 1, "Reading the images")
            images[phase] = stored.phase(phase)
        case = replace(stored, images=images)
    yield Progress(case.phases, case.phases + 1, "Reading the corrections")
    return Opened(session, locked_by, case_id, case, session.annotation(case_id), session.prediction(case_id))
