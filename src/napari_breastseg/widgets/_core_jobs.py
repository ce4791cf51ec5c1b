"""The two long jobs of the annotation loop, which is imported, and torch with it, on the worker thread: the dock opens at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_breastseg.case import Prediction
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

if TYPE_CHECKING:
    from napari_breastseg.loop import AnnotationLoop, RoundOutcome


def predicting(session: Session, case_id: str, device: str) -> Job[Prediction]:
    """Predict a case with the session's current model and store the prediction."""
    yield Progress(0, 1, "Loading the model")
    return (yield from make_loop(session, device).predict(case_id))


def learning(session: Session, device: str) -> Job[RoundOutcome]:
    """Run one learning round on all corrections of the session."""
    yield Progress(0, 1, "Collecting the corrections")
    return (yield from make_loop(session, device).learn())


def make_loop(session: Session, device: str) -> AnnotationLoop:
    """Return the annotation loop of a session."""
    from napari_breastseg.loop import AnnotationLoop

    return AnnotationLoop(session, device=device)
