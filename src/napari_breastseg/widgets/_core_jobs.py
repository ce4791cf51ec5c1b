"""The long jobs of the core, which is imported, and torch with it, on the worker thread: the dock opens at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Prediction
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation
    from napari_breastseg.loop import AnnotationLoop, RoundOutcome


def predicting(session: Session, case_id: str, device: str) -> Job[Prediction]:
    """Predict a case with the session's current model, store the prediction, and return it as stored, which keeps the memory free."""
    yield Progress(0, 1, "Loading the model")
    made = yield from make_loop(session, device).predict(case_id)
    return session.prediction(case_id, in_memory=False) or made


def learning(session: Session, device: str) -> Job[RoundOutcome]:
    """Run one learning round on all corrections of the session."""
    yield Progress(0, 1, "Collecting the corrections")
    return (yield from make_loop(session, device).learn())


def explaining(session: Session, case: Case, mask: npt.NDArray[np.uint8], model: str | None, device: str) -> Job[Explanation]:
    """Explain the mask that is shown by the model that predicted it; without a prediction, by the one that would."""
    yield Progress(0, 1, "Loading the model")
    from napari_breastseg.inference import explain
    from napari_breastseg.methods.model import load_model

    sha = model or session.current_model
    chosen = load_model("hcma-unet" if sha is None else session.model_path(sha))
    return (yield from explain(case, chosen, mask, device=device))


def make_loop(session: Session, device: str) -> AnnotationLoop:
    """Return the annotation loop of a session."""
    from napari_breastseg.loop import AnnotationLoop

    return AnnotationLoop(session, device=device)
