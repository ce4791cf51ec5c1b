"""A process that paints, then predicts or learns until it is killed: ``python looper.py predict|learn SESSION CASE WEIGHTS``."""

from __future__ import annotations

import sys
import time

import numpy as np

from napari_breastseg.case import Case, Prediction
from napari_breastseg.loop import AnnotationLoop, annotation_loop
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session


def endless(case: Case, model: Model, device: str, region: str, mirror: bool) -> Job[Prediction]:
    """Predict for ever."""
    while True:
        yield Progress(1, 2, "busy")
        time.sleep(0.05)


def main(what: str, folder: str, case_id: str, weights: str) -> None:
    """Paint two strokes, then work for ever; says "busy" when the work is under way."""
    annotation_loop.predict = endless
    annotation_loop.LEARNER = "learning_targets:endless"
    with Session.open(folder) as session:
        loop = AnnotationLoop(session, weights)
        for z in (2, 5):
            box = ((z, z + 1), (2, 9), (2, 9))
            session.record(case_id, Edit(box, np.ones((1, 7, 7), bool), int(z == 2), "brush", session.seq(case_id)))
        job = loop.predict(case_id) if what == "predict" else loop.learn()
        for progress in job:
            if progress.message in ("busy", "learning"):
                print("busy", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
