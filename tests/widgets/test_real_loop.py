"""The dock on the real annotation loop: only the network's forward pass and the training are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Prediction
from napari_breastseg.loop import AnnotationLoop, annotation_loop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk import core_jobs
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import TRUTH, work_on

pytestmark = [pytest.mark.qt, pytest.mark.slow]


def quick_predict(case: Case, model: Model, device: str, region: str, mirror: bool) -> Job[Prediction]:
    yield Progress(0, 1, "predicting")
    probability = np.zeros(case.shape, np.float32)
    probability[TRUTH] = 0.9
    mask = (probability > 0.5).astype(np.uint8)
    return Prediction(model.sha, probability, mask, mask, details={"device": device})


@pytest.fixture
def dock(open_dock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BreastSegWidget:
    torch.manual_seed(0)
    card = {"preset": "hcma-unet/practical", "parent": None}
    weights = save_model(get_preset("hcma-unet").build().state_dict(), card, tmp_path / "weights")
    monkeypatch.setattr(core_jobs, "make_loop", lambda session, device, _="", model="": AnnotationLoop(session, weights, device))
    monkeypatch.setattr(annotation_loop, "predict", quick_predict)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "loop"))
    monkeypatch.setattr(annotation_loop, "LEARNER", "learning_targets:adopt")
    opened: BreastSegWidget = open_dock()
    return opened


def paint_square(dock: BreastSegWidget, z: int, label: int) -> None:
    """Make a stroke of more than the fewest voxels that learning asks for."""
    layer = dock.desk.painter.layer
    dock.desk.viewer.dims.set_point(1, z * layer.scale[0])
    layer.brush_size = 9
    with layer.block_history():
        layer.paint((z, 8, 12), label)


def test_predict_correct_learn_and_go_back(
    dock: BreastSegWidget, tiny_case: Case, settled: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_on(dock, tiny_case, settled)
    session, case_id = dock.desk.session, dock.desk.case_id
    first = session.current_model
    paint_square(dock, 2, 1)
    paint_square(dock, 5, 0)
    settled(dock)
    assert [row.seq for row in session.edits(case_id)] == [1, 2]
    dock.learn.learn.click()
    qtbot.waitUntil(lambda: dock.desk.jobs.kind == "predict" or not dock.desk.jobs.busy, timeout=300_000)
    settled(dock)
    assert "Adopted" in dock.learn.hint.text()
    assert session.current_model != first
    assert len(session.predictions(case_id)) == 2
    assert np.array_equal(dock.desk.painter.layer.data, session.mask(case_id))
    assert [dock.versions.table.item(line, 3).text() for line in range(2)] == ["in use", "starter"]
    dock.versions.table.selectRow(1)
    dock.versions.use.click()
    settled(dock)
    assert session.current_model == first

    monkeypatch.setattr(annotation_loop, "LEARNER", "learning_targets:endless")
    dock.learn.learn.click()
    qtbot.waitUntil(lambda: dock.learn.bar.message.text().startswith("learning"), timeout=300_000)
    dock.learn.bar.cancel.click()
    settled(dock)
    assert "Cancelled" in dock.learn.hint.text()
    path = session.path
    dock.shut()
    with Session.open(path) as again:
        assert (again.current_model, len(again.rounds()), again.seq(case_id)) == (first, 1, 2)
        assert again.verify() == []


def test_too_few_corrections_are_said_so(dock: BreastSegWidget, tiny_case: Case, settled: Any, notices: list[str]) -> None:
    work_on(dock, tiny_case, settled)
    paint_square(dock, 2, 1)
    settled(dock)
    dock.learn.learn.click()
    settled(dock)
    assert len(notices) == 1
    assert "Traceback" not in notices[0]
    assert dock.learn.learn.isEnabled()
