from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.progress import run
from napari_breastseg.session import Session
from napari_breastseg.session.disk.places import WORK

LOOPER = Path(__file__).parent / "looper.py"


@pytest.mark.parametrize("what", ["predict", "learn"])
def test_a_kill_loses_no_stroke(what: str, tmp_path: Path, tiny_case: Case, weights: Path, learner: Callable[[str], None]) -> None:
    folder = tmp_path / "session"
    with Session.create(folder) as session:
        case_id = session.add_case(tiny_case)
    process = subprocess.Popen([sys.executable, str(LOOPER), what, str(folder), case_id, str(weights)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "busy"
    process.kill()
    process.wait()
    process.stdout.close()
    with Session.open(folder) as session:
        assert session.verify() == [] and session.seq(case_id) == 2
        annotation = session.annotation(case_id)
        assert (annotation[2, 2:9, 2:9] == 1).all() and (annotation[5, 2:9, 2:9] == 0).all()
        assert np.count_nonzero(annotation != 255) == 98
        assert session.predictions(case_id) == [] and session.rounds() == [] and session.current_model == weights.stem
        learner("adopt")
        assert run(AnnotationLoop(session).learn()).adopted, "work goes on where it stood"
        assert not (folder / WORK).exists()
