"""Section Explain: layers, table, and what it leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.errors import ComputeError
from napari_breastseg.inference import Explanation, HardNegative
from napari_breastseg.inference import explain as explain_case
from napari_breastseg.loop import AnnotationLoop, annotation_loop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk import core_jobs
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.sections import explain
from napari_breastseg.widgets.view.explain_layers import explanation_layers
from napari_breastseg.widgets.writer import write_tumour

from .conftest import SHA, TRUTH, paint, use, work_on

pytestmark = pytest.mark.qt
LAYERS = ["Similarity to tumour", "Around hard negatives", "Boundary confusion", "Hard negatives"]


class FakeExplain:
    """Calls everything in the first slices hard negatives; fails or waits as told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.endless = False
        self.masks: list[npt.NDArray[np.uint8]] = []
        self.models: list[str | None] = []
        self.regions: list[str] = []
        self.closed = 0

    def __call__(
        self, session: Session, case: Case, mask: npt.NDArray[np.uint8], model: str | None, device: str, region: str
    ) -> Job[Explanation]:
        self.masks.append(mask)
        self.models.append(model)
        self.regions.append(region)
        try:
            yield Progress(1, 2, "Looking at the tumour")
            if self.error is not None:
                raise self.error
            while self.endless:
                time.sleep(0.01)
                yield Progress(1, 2, "Waiting")
        finally:
            self.closed += 1
        hardest = np.zeros(case.shape, np.uint8)
        hardest[1, 2, 3:6], hardest[10, 12, 17] = 1, 2
        similarity = np.where(mask == 1, 0.9, -0.5).astype(np.float32)
        maps = {"similarity": similarity, "boundary": mask, "negative": (hardest > 0).astype(np.uint8), "hardest": hardest}
        rows = [
            HardNegative(1, 3, 0.009, 0.8, 1.25, 3.2, (1, 2, 4), "vessel-like"),
            HardNegative(2, 6, 0.018, 0.9, None, 0.0, (10, 12, 17), "other"),
        ]
        return Explanation({f"frloss-{name}": values for name, values in maps.items()}, rows, {"device": device})


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeExplain:
    made = FakeExplain()
    monkeypatch.setattr(explain, "explaining", made)
    return made


@pytest.fixture
def explained(predicted: BreastSegWidget, settled: Any) -> BreastSegWidget:
    predicted.explain.show_why.click()
    settled(predicted)
    return predicted


def table_of(dock: BreastSegWidget) -> list[list[str]]:
    table = dock.explain.table
    return [[table.item(line, column).text() for column in range(table.columnCount())] for line in range(table.rowCount())]


def test_there_is_nothing_to_explain_before_a_prediction_and_that_is_said(open_dock: Any, settled: Any, tiny_case: Case) -> None:
    dock = open_dock()
    assert "Choose a case" in dock.explain.hint.text()
    use(dock, tiny_case, settled)
    assert not dock.explain.show_why.isEnabled()
    assert "Predict first" in dock.explain.hint.text()
    paint(dock, (9, 3, 3))
    settled(dock)
    assert dock.explain.show_why.isEnabled()


def test_the_maps_are_layers_below_the_tumour_in_mm(explained: BreastSegWidget) -> None:
    viewer = explained.desk.viewer
    names = [layer.name for layer in viewer.layers]
    assert names[-5:] == [*LAYERS, "Tumour"]
    for name in LAYERS:
        layer = viewer.layers[name]
        assert layer.visible
        assert tuple(layer.scale) == (2.0, 1.5, 1.0)
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        assert not getattr(layer, "editable", False) or name == LAYERS[0]
    assert tuple(viewer.layers[LAYERS[0]].contrast_limits) == (0.0, 1.0)
    assert set(np.unique(viewer.layers["Hard negatives"].data)) == {0, 1, 2}
    assert viewer.layers["Hard negatives"].contour == 0 and viewer.layers["Boundary confusion"].contour == 1
    assert viewer.layers["Tumour"].contour == 1  # what lies below it is seen


def test_neither_the_tumour_layer_nor_the_tool_in_hand_is_touched(predicted: BreastSegWidget, settled: Any, fake: FakeExplain) -> None:
    predicted.correct.paint.click()
    layer, before = predicted.desk.painter.layer, predicted.desk.painter.layer.data.copy()
    predicted.explain.show_why.click()
    paint(predicted, (9, 3, 3))
    settled(predicted)
    assert predicted.desk.painter.layer is layer
    assert predicted.desk.viewer.layers.selection.active is layer
    assert layer.mode == "paint"
    assert np.array_equal(fake.masks[0], before)
    assert layer.data[9, 3, 3] == 1
    assert "has changed since" in predicted.explain.hint.text()


def test_the_table_lists_every_row(explained: BreastSegWidget) -> None:
    assert table_of(explained) == [
        ["1", "<0.01 mL", "0.80", "125%", "3", "vessel-like"],
        ["2", "0.02 mL", "0.90", "–", "0", "other"],
    ]
    header = explained.explain.table.horizontalHeaderItem
    assert all(header(column).toolTip() for column in range(explained.explain.table.columnCount()))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)])
def test_a_click_on_a_row_goes_there(explained: BreastSegWidget, order: tuple[int, ...]) -> None:
    viewer = explained.desk.viewer
    viewer.dims.order = order
    active = viewer.layers.selection.active
    for line, centre in ((1, (10, 12, 17)), (0, (1, 2, 4)), (0, (1, 2, 4))):
        viewer.scene.camera.center = (0.0, 0.0, 0.0)
        explained.explain.table.setCurrentCell(line, 0)
        explained.explain.table.cellClicked.emit(line, 0)
        at = np.array(centre) * (2.0, 1.5, 1.0)
        assert np.allclose(viewer.dims.point[1:], at)
        assert np.allclose(viewer.scene.camera.center[1:], at[[axis - 1 for axis in order[2:]]])
    assert viewer.dims.point[0] == 1
    assert viewer.layers.selection.active is active


def test_a_second_run_replaces_the_layers_and_keeps_them_hidden_if_they_were(explained: BreastSegWidget, settled: Any) -> None:
    viewer = explained.desk.viewer
    viewer.layers["Boundary confusion"].visible = False
    paint(explained, (5, 7, 8), label=0)
    settled(explained)
    assert "Show why" in explained.explain.hint.text() and "changed since" in explained.explain.hint.text()
    explained.correct.undo.click()
    settled(explained)
    assert "changed since" not in explained.explain.hint.text()
    paint(explained, (5, 7, 8), label=0)
    explained.explain.show_why.click()
    settled(explained)
    names = [layer.name for layer in viewer.layers]
    assert names[-5:] == [*LAYERS, "Tumour"] and len(set(names)) == len(names)
    assert not viewer.layers["Boundary confusion"].visible
    assert viewer.layers["Similarity to tumour"].data[5, 7, 8] < 0
    assert len(table_of(explained)) == 2


def test_a_second_run_leaves_the_look_of_the_layers_and_the_active_one(explained: BreastSegWidget, settled: Any) -> None:
    viewer = explained.desk.viewer
    similarity = viewer.layers["Similarity to tumour"]
    similarity.opacity, similarity.contrast_limits = 0.3, (0.4, 0.9)
    viewer.layers.selection.active = similarity
    explained.explain.show_why.click()
    settled(explained)
    assert viewer.layers["Similarity to tumour"] is similarity and viewer.layers.selection.active is similarity
    assert similarity.opacity == 0.3 and tuple(similarity.contrast_limits) == (0.4, 0.9)
    assert not viewer.layers["Hard negatives"].editable


def test_what_is_outdated_is_said_even_after_a_cancelled_run(
    explained: BreastSegWidget, settled: Any, fake: FakeExplain, qtbot: Any
) -> None:
    fake.endless = True
    explained.explain.show_why.click()
    qtbot.waitUntil(lambda: explained.explain.bar.bar.value() == 1, timeout=60_000)
    explained.explain.bar.cancel.click()
    settled(explained)
    assert len(table_of(explained)) == 2 and "White outline" in explained.explain.hint.text()
    paint(explained, (9, 3, 3))
    settled(explained)
    assert "has changed since" in explained.explain.hint.text()


def test_another_models_prediction_outdates_the_explanation(explained: BreastSegWidget, fake: FakeExplain, settled: Any) -> None:
    assert fake.models == [SHA]
    mask = explained.desk.painter.layer.data.copy()
    explained.desk.show_prediction(Prediction("cd" * 32, mask.astype(np.float32), mask, mask))
    settled(explained)
    assert "Another model" in explained.explain.hint.text()
    explained.explain.show_why.click()
    settled(explained)
    assert fake.models == [SHA, "cd" * 32] and "White outline" in explained.explain.hint.text()


def test_with_the_layers_the_table_goes(explained: BreastSegWidget) -> None:
    for name in LAYERS:
        del explained.desk.viewer.layers[name]
    assert table_of(explained) == [] and "Press" in explained.explain.hint.text()


def test_hard_negatives_are_written_with_their_numbers(explained: BreastSegWidget, tmp_path: Path) -> None:
    viewer = explained.desk.viewer
    for name, values in (("Hard negatives", {0, 1, 2}), ("Boundary confusion", {0, 1}), ("Tumour", {0, 1})):
        data, attributes, _ = viewer.layers[name].as_layer_data_tuple()
        (path,) = write_tumour(str(tmp_path / f"{name}.nii.gz"), data, attributes)
        assert set(np.unique(nib.load(path).dataobj)) == values


def test_layers_and_table_go_when_the_case_is_left(explained: BreastSegWidget, settled: Any, tmp_path: Path) -> None:
    Session.create(tmp_path / "other").close()
    explained.desk.open_session(tmp_path / "other")
    settled(explained)
    assert not set(LAYERS) & {layer.name for layer in explained.desk.viewer.layers}
    assert table_of(explained) == []
    assert explained.explain.table.isHidden()


def test_cancel_leaves_everything_as_it_was(predicted: BreastSegWidget, settled: Any, fake: FakeExplain, qtbot: Any) -> None:
    fake.endless = True
    names = [layer.name for layer in predicted.desk.viewer.layers]
    predicted.explain.show_why.click()
    qtbot.waitUntil(lambda: predicted.explain.bar.bar.value() == 1, timeout=60_000)
    assert not predicted.predict.predict.isEnabled()
    predicted.explain.bar.cancel.click()
    settled(predicted)
    assert fake.closed == 1
    assert "Cancelled" in predicted.explain.hint.text()
    assert [layer.name for layer in predicted.desk.viewer.layers] == names
    assert predicted.explain.show_why.isEnabled()


def test_an_error_becomes_one_sentence(predicted: BreastSegWidget, settled: Any, fake: FakeExplain, notices: list[str]) -> None:
    fake.error = ComputeError("There is too little memory. Close other programs.")
    predicted.explain.show_why.click()
    settled(predicted)
    assert notices == ["There is too little memory. Close other programs."]
    assert predicted.explain.show_why.isEnabled()


def test_a_session_that_is_open_elsewhere_can_be_explained_too(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    second = open_dock()
    second.desk.open_session(predicted.desk.session.path)
    settled(second)
    assert second.desk.read_only
    second.explain.show_why.click()
    settled(second)
    assert len(table_of(second)) == 2
    assert not second.desk.painter.layer.editable


def test_sections_are_numbered_in_the_order_of_the_work(open_dock: Any) -> None:
    dock = open_dock()
    sections = (dock.case, dock.predict, dock.explain, dock.correct, dock.learn, dock.versions)
    names = ("Case", "Predict", "Explain", "Correct", "Learn", "Versions")
    assert [section.title() for section in sections] == [f"{number} · {name}" for number, name in enumerate(names, 1)]


def test_it_looks_where_the_prediction_does(explained: BreastSegWidget, fake: FakeExplain, settled: Any) -> None:
    explained.predict.everywhere.setChecked(True)
    explained.explain.show_why.click()
    settled(explained)
    assert fake.regions == ["breast", "full"]
    explained.desk.region = "breast"  # of the prediction that is shown, whatever the next one shall do
    explained.explain.show_why.click()
    settled(explained)
    assert fake.regions[-1] == "breast"


@pytest.mark.slow
def test_the_model_that_predicted_explains_although_another_is_current(
    open_dock: Callable[..., BreastSegWidget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_case: Case, settled: Any
) -> None:
    """The real job with an untrained network: only the prediction is fixed."""

    def quick_predict(case: Case, model: Model, device: str, region: str, mirror: bool) -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        mask = np.zeros(case.shape, np.uint8)
        mask[TRUTH] = 1
        return Prediction(model.sha, mask.astype(np.float32), mask, mask)

    torch.manual_seed(0)
    card = {"preset": "hcma-unet/practical", "parent": None}
    weights = save_model(get_preset("hcma-unet").build().state_dict(), card, tmp_path / "weights")
    monkeypatch.setattr(core_jobs, "make_loop", lambda session, device, model="": AnnotationLoop(session, weights, device))
    monkeypatch.setattr(annotation_loop, "predict", quick_predict)
    monkeypatch.setattr(explain, "explaining", core_jobs.explaining)
    dock = open_dock()
    work_on(dock, tiny_case, settled)
    predicted, session = dock.desk.model, dock.desk.session
    torch.manual_seed(1)
    other = session.add_model(save_model(get_preset("hcma-unet").build().state_dict(), card, tmp_path / "other"), card)
    session.use_model(other)
    assert session.current_model == other != predicted
    loaded: list[str] = []
    monkeypatch.setattr("napari_breastseg.methods.model.load_model", lambda path: loaded.append(load_model(path).sha) or load_model(path))
    dock.explain.show_why.click()
    settled(dock)
    assert dock.explain.table.rowCount() > 0
    assert loaded == [predicted]
    shown = dock.desk.viewer.layers["Similarity to tumour"].data
    mask = np.zeros(tiny_case.shape, np.uint8)
    mask[TRUTH] = 1
    expected = run(explain_case(tiny_case, load_model(session.model_path(predicted)), mask, device="cpu"))
    np.testing.assert_allclose(shown, expected.maps["frloss-similarity"], atol=1e-5)


def test_what_a_model_expects_before_contrast_lies_hidden_below() -> None:
    shape = (4, 5, 6)
    maps = {f"frloss-{name}": np.zeros(shape, np.uint8) for name in ("boundary", "negative", "hardest")}
    maps |= {"frloss-similarity": np.zeros(shape, np.float32), "clusters-predicted": np.full(shape, 3, np.uint8)}
    geometry = Geometry((2.0, 1.0, 1.0), np.eye(4), (6, 5, 4))
    expected, *others = explanation_layers(Explanation(maps, [], {}), geometry)
    assert [layer.name for layer in others] == LAYERS
    assert expected.name == "Expected curve clusters" and not expected.visible and not expected.editable
    np.testing.assert_array_equal(expected.data, maps["clusters-predicted"])
    assert len({tuple(expected.get_color(number)) for number in (1, 2, 3)}) == 3


@pytest.mark.parametrize(("values", "limits"), [((0.1, 0.4), (-0.4, 0.4)), ((-0.3, 0.2), (-0.3, 0.3)), ((0.0, 0.0), (-1e-6, 1e-6))])
def test_what_sfeb_adds_is_clear_at_nothing_whichever_way_it_goes(values: tuple[float, float], limits: tuple[float, float]) -> None:
    shape = (1, 2, 2)
    plain = np.zeros(shape, np.uint8)
    maps = {name: plain for name in ("frloss-negative", "frloss-boundary", "frloss-hardest")}
    maps |= {"frloss-similarity": np.zeros(shape, np.float32), "sfeb-effect": np.array([[values, values]], np.float32)}
    maps |= {"boundary-attention": np.full(shape, 0.5, np.float32)}
    layers = explanation_layers(Explanation(maps, [], {}), Geometry((1.0, 1.0, 1.0), np.eye(4), (2, 2, 1)))
    assert [layer.name for layer in layers] == ["What SFEB adds", "Boundary attention (BFA)", *LAYERS]
    sfeb, attention = layers[:2]
    assert sfeb.contrast_limits == pytest.approx(list(limits)) and attention.contrast_limits == pytest.approx([0.0, 0.5])
    assert not sfeb.visible and not attention.visible
    lower, nothing, higher = sfeb.colormap.map(np.array([0.0, 0.5, 1.0]))
    assert nothing[3] == 0 and lower[3] == higher[3] > 0.5
    assert lower[2] > lower[0] and higher[0] > higher[2]  # blue, red
