"""A person at napari who paints until the process is killed: run by test_kill.py, to which each line on stdout tells what is safe.

python person.py SESSION
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.session import Session
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.view.view_state import capture

END = time.monotonic() + 300
"""Nobody is left painting if the test that should kill this process is gone."""


def wait(ready: Callable[[], bool]) -> None:
    while not ready():
        if time.monotonic() > END:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.01)


def prepare(folder: Path) -> None:
    """Make a session with a case and a prediction."""
    images = np.random.default_rng(0).normal(200.0, 40.0, (3, 24, 64, 64)).astype(np.float32)
    case = Case("kill", images, Geometry((2.0, 1.0, 1.0), np.diag([-1.0, -1.0, 2.0, 1.0]), (64, 64, 24)), (0.0, 90.0, 180.0))
    mask = np.zeros(case.shape, np.uint8)
    mask[8:12, 20:30, 20:30] = 1
    with Session.create(folder) as session:
        session.add_prediction(session.add_case(case), Prediction("ab" * 32, mask.astype(np.float32), mask, mask))


def tell(*words: object) -> None:
    print(*words, flush=True)


def main(folder: Path) -> None:
    prepare(folder)
    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    assert isinstance(dock, BreastSegWidget)
    desk = dock.desk
    desk.open_session(folder)
    wait(lambda: not desk.jobs.busy and desk.view is not None and desk.view.layer("probability") is not None)
    session, case_id, view, journal = desk.session, desk.case_id, desk.view, desk.journal
    assert session is not None and case_id is not None and view is not None and journal is not None
    viewer.dims.point = (2.0, 18.0, 0.0, 0.0)
    viewer.scene.camera.zoom = 6.5
    view.layer("case").contrast_limits = (50.0, 350.0)
    view.layer("probability").visible = True
    dock.correct.paint.click()
    dock.correct.brush.setValue(5)
    wait(lambda: session.view(case_id) == capture(viewer, view, None).stored())
    tell("view", json.dumps(session.view(case_id)))
    canvas = viewer.window._qt_viewer.canvas.native
    rng = np.random.default_rng(1)
    while time.monotonic() < END:
        seq = journal.seq
        start = QPoint(*(int(n) for n in rng.integers(150, 350, 2)))
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
        for step in range(1, 4):
            QTest.mouseMove(canvas, start + QPoint(8 * step, int(rng.integers(-9, 9))))
            QApplication.processEvents()
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(24, 0))
        wait(lambda: journal.idle)
        if journal.seq > seq:
            tell("saved", journal.seq, hashlib.sha256(view.layer("tumour").data.tobytes()).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
