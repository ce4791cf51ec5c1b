"""The long jobs of the core, which is imported, and torch with it, on the worker thread: the dock opens at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Prediction
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation
    from napari_breastseg.inference.grids import Region
    from napari_breastseg.loop import AnnotationLoop, RoundOutcome
    from napari_breastseg.loop.changes import ModelChange
    from napari_breastseg.loop.queue import Suggestion


def predicting(session: Session, case_id: str, device: str, region: Region, method: str) -> Job[Prediction]:
    """Predict a case with the session's version of a method, store the prediction, and return it as stored, which keeps the memory free."""
    yield Progress(0, 1, "Loading the model")
    loop = make_loop(session, device, model=method)
    loop.use_method(method)
    made = yield from loop.predict(case_id, region)
    return session.prediction(case_id, in_memory=False) or made


def refining(session: Session, case_id: str, strokes: npt.NDArray[np.uint8]) -> Job[Prediction]:
    """Let the prediction of a case follow the strokes on it, and return it as stored."""
    yield Progress(0, 1, "Looking at the strokes")
    made = yield from make_loop(session, "cpu").refine(case_id, strokes)
    return session.prediction(case_id, in_memory=False) or made


def unrefining(session: Session, case_id: str) -> Job[Prediction]:
    """Show again what was shown before the last refinement."""
    yield Progress(0, 1, "Taking it back")
    made = make_loop(session, "cpu").unrefine(case_id)
    return session.prediction(case_id, in_memory=False) or made


def aligning(session: Session, case_id: str) -> Job[str]:
    """Lay the phases of a case over each other, as a case of its own, whose id is returned."""
    yield Progress(0, 1, "Looking for motion")
    from napari_breastseg.loop.aligned import align_in

    return (yield from align_in(session, case_id))


def learning(session: Session, device: str, scheduler: str) -> Job[RoundOutcome]:
    """Run one learning round on all corrections of the session, on a Dask scheduler if one is named."""
    yield Progress(0, 1, "Collecting the corrections")
    return (yield from make_loop(session, device, scheduler).learn())


def comparing(session: Session, before: str, after: str, device: str, case_ids: Sequence[str]) -> Job[list[ModelChange]]:
    """Compare what two versions of the model see, case by case in this order."""
    yield Progress(0, len(case_ids), "Loading the models")
    from napari_breastseg.loop.changes import all_changes

    return (yield from all_changes(session, before, after, device, case_ids))


def queueing(session: Session, device: str) -> Job[list[Suggestion]]:
    """Order the cases that wait by what a correction would teach the model."""
    yield Progress(0, 1, "Loading the model")
    from napari_breastseg.loop.queue import queue

    return (yield from queue(session, device=device))


def using(session: Session, sha: str) -> Job[None]:
    """Make a model current, whose weights are checked before."""
    yield Progress(0, 1, "Checking the weights")
    session.use_model(sha)


def overruling(session: Session, number: int) -> Job[None]:
    """Make the refused candidate of a learning round current, and record that the person did."""
    yield Progress(0, 1, "Checking the weights")
    session.overrule(number)


def explaining(
    session: Session, case: Case, mask: npt.NDArray[np.uint8], model: str | None, device: str, region: Region
) -> Job[Explanation]:
    """Explain the mask that is shown by the model that predicted it; without a prediction, by the one that would."""
    yield Progress(0, 1, "Loading the model")
    from napari_breastseg.inference import explain
    from napari_breastseg.methods import usual_method
    from napari_breastseg.methods.model import load_model

    sha = model or session.current_model
    chosen = load_model(usual_method(case.modality) if sha is None else session.model_path(sha))
    return (yield from explain(case, chosen, mask, device=device, region=region))


def make_loop(session: Session, device: str, scheduler: str = "", model: str = "hcma-unet") -> AnnotationLoop:
    """Return the annotation loop of a session, which begins with `model` if it has none."""
    from napari_breastseg import compute
    from napari_breastseg.loop import AnnotationLoop

    where = compute.on_scheduler(scheduler) if scheduler else compute.in_child
    return AnnotationLoop(session, model, device, where)
