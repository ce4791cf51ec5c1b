"""What a stroke costs the thread that draws: finding it in the painted mask and queueing it for the session."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_breastseg.case import UNDECIDED, slices
from napari_breastseg.loop.recorder import Recorder
from napari_breastseg.loop.strokes import PaintedMask
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session

PAUSE = 0.02
"""Seconds between two strokes, in which the recorder's thread may work."""


def main_thread_ms(session: Session, case_id: str, strokes: Sequence[Edit]) -> Job[dict[str, Any]]:
    """Paint `strokes` on a mask and hand each on as the dock does; the session saves them behind on a thread of its own."""
    annotation = session.annotation(case_id)
    predicted = np.zeros_like(annotation)
    mask = PaintedMask(np.where(annotation == UNDECIDED, predicted, annotation), predicted, annotation)
    recorder = Recorder(session, case_id)
    seconds = []
    for number, stroke in enumerate(strokes):
        yield Progress(number, len(strokes), "Painting")
        mask.painted[slices(stroke.box)][stroke.mask] = stroke.value
        began = time.perf_counter()
        for found in mask.take(stroke.tool, stroke.box).strokes:
            recorder.add(found)
        seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    unsaved = recorder.close()
    p50, p95 = (float(n) for n in np.percentile(np.array(seconds) * 1000, [50, 95]))
    return {"strokes": len(strokes), "unsaved": unsaved, "p50_ms": p50, "p95_ms": p95}
