"""napari is killed while a person paints in a real window; nothing that was said to be saved is lost, nor is the place."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import overlay
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.view.view_state import capture

pytestmark = [pytest.mark.qt, pytest.mark.slow]
STROKES = 6


@pytest.mark.skipif(sys.platform == "win32", reason="a process is killed by a signal")
def test_after_a_kill_case_slice_layers_tool_and_strokes_are_there(
    tmp_path: Path, make_napari_viewer: Any, sessions: Path, settled: Any, notices: list[str]
) -> None:
    folder = sessions / "killed"
    view, saved = paint_until_killed(folder)
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    assert isinstance(dock, BreastSegWidget)
    dock.case.latest.click()
    settled(dock)
    session, case_id = dock.desk.session, dock.desk.case_id
    assert session is not None and case_id is not None and dock.desk.view is not None and not dock.desk.read_only
    assert capture(viewer, dock.desk.view, None).stored() == view
    assert dock.correct.paint.isChecked() and dock.correct.brush.value() == 5
    prediction = session.prediction(case_id)
    assert prediction is not None
    for seq, digest in saved.items():
        mask = overlay(prediction.refined, session.annotation(case_id, at=seq))
        assert hashlib.sha256(mask.tobytes()).hexdigest() == digest
    assert session.seq(case_id) >= max(saved)
    assert np.array_equal(session.mask(case_id), dock.desk.view.layer("tumour").data)
    assert session.verify() == []
    assert len(notices) == 1 and "was not closed properly" in notices[0] and notices[0] in dock.case.recovered.text()


def paint_until_killed(folder: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """Return the view that was kept, and for each edit that was said to be saved what the mask looked like then."""
    view: dict[str, Any] = {}
    saved: dict[int, str] = {}
    command = [sys.executable, str(Path(__file__).with_name("person.py")), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout is not None
        for line in person.stdout:
            kind, _, rest = line.partition(" ")
            if kind == "view":
                view = json.loads(rest)
            elif kind == "saved":
                seq, digest = rest.split()
                saved[int(seq)] = digest
                if len(saved) == STROKES:
                    person.send_signal(signal.SIGKILL)
                    break
    assert person.returncode == -signal.SIGKILL and view and len(saved) == STROKES
    return view, saved
