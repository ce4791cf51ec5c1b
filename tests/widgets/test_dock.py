"""The work in the dock, from a case to versions."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.errors import ComputeError, SessionError
from napari_breastseg.loop.recorder import Mark
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk import desk as desk_module
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import TRUTH, FakeLoop, paint

pytestmark = pytest.mark.qt


def test_an_empty_dock_says_what_to_do_and_enables_only_that(open_dock: Any) -> None:
    dock = open_dock()
    assert "Open an examination" in dock.case.hint.text()
    assert dock.case.open_file.isEnabled()
    for control in (dock.case.use, dock.predict.predict, dock.correct.paint, dock.correct.undo, dock.learn.learn):
        assert not control.isEnabled()


def test_every_control_has_a_tooltip(open_dock: Any) -> None:
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QSpinBox

    dock = open_dock()
    for kind in (QAbstractButton, QComboBox, QSpinBox):
        own = [control for control in dock.findChildren(kind) if control.parent().__class__.__module__.startswith("napari_breastseg")]
        assert own
        assert [control for control in own if not control.toolTip()] == []


def test_a_case_is_copied_into_a_session_in_the_usual_place(dock_with_case: BreastSegWidget, sessions: Any) -> None:
    session = dock_with_case.desk.session
    assert session is not None
    assert session.path.parent == sessions
    assert session.cases == [dock_with_case.desk.case_id]
    assert dock_with_case.predict.predict.isEnabled()


def test_every_layer_has_lengths_in_mm(predicted: BreastSegWidget) -> None:
    viewer = predicted.desk.viewer
    names = {layer.name for layer in viewer.layers}
    assert names == {"tiny", "Subtraction (post 1 − pre)", "Prediction (coarse)", "Probability", "Tumour"}
    for layer in viewer.layers:
        assert [str(unit) for unit in layer.units[-3:]] == ["millimeter"] * 3
        assert layer.axis_labels[-3:] == ("z", "y", "x")
        assert tuple(layer.scale[-3:]) == (2.0, 1.5, 1.0)
    assert [str(unit) for unit in viewer.dims.units[-3:]] == ["millimeter"] * 3


def test_the_prediction_is_shown_and_the_tumour_layer_is_ready(predicted: BreastSegWidget) -> None:
    layer = predicted.desk.painter.layer
    assert type(layer.data) is np.ndarray
    assert layer.data.dtype == np.uint8
    assert layer.data[TRUTH].all()
    assert layer.data.sum() == layer.data[TRUTH].size
    assert predicted.desk.view.slice_index(0) in range(4, 8)
    assert [layer.name for layer in predicted.desk.viewer.layers if layer.visible] == ["tiny", "Tumour"]
    assert "mL" in predicted.predict.hint.text()


def test_the_whole_field_of_view_is_looked_at_if_asked_for(predicted: BreastSegWidget, loop: FakeLoop, settled: Any) -> None:
    predicted.predict.everywhere.setChecked(True)
    predicted.predict.predict.click()
    settled(predicted)
    assert loop.regions == ["breast", "full"]


def test_a_stroke_is_a_row_of_the_journal_before_saved_is_shown(predicted: BreastSegWidget, settled: Any) -> None:
    predicted.correct.paint.click()
    paint(predicted, (9, 3, 3))
    settled(predicted)
    session, case_id = predicted.desk.session, predicted.desk.case_id
    assert predicted.correct.saved.text() == "saved #1"
    (row,) = session.edits(case_id)
    assert (row.tool, row.box[0]) == ("brush", (9, 10))
    assert np.array_equal(session.mask(case_id), predicted.desk.painter.layer.data)
    assert session.annotation(case_id)[9, 3, 3] == 1


def test_erasing_says_that_it_is_healthy(predicted: BreastSegWidget, settled: Any) -> None:
    predicted.correct.erase.click()
    paint(predicted, (5, 7, 8), label=0)
    settled(predicted)
    assert predicted.desk.session.annotation(predicted.desk.case_id)[5, 7, 8] == 0
    assert predicted.desk.session.edits(predicted.desk.case_id)[0].tool == "eraser"


def test_other_labels_are_refused_and_taken_back(predicted: BreastSegWidget, settled: Any, notices: list[str]) -> None:
    paint(predicted, (9, 3, 3), label=5)
    settled(predicted)
    assert predicted.desk.painter.layer.data.max() == 1
    assert predicted.desk.session.edits(predicted.desk.case_id) == []
    predicted.desk.painter.layer.selected_label = 3
    assert predicted.desk.painter.layer.selected_label == 1
    assert len(notices) == 2


def test_undo_and_redo_go_through_the_session(predicted: BreastSegWidget, settled: Any) -> None:
    before = predicted.desk.painter.layer.data.copy()
    paint(predicted, (5, 7, 8), label=0)
    after = predicted.desk.painter.layer.data.copy()
    predicted.correct.undo.click()
    settled(predicted)
    assert np.array_equal(predicted.desk.painter.layer.data, before)
    predicted.correct.redo.click()
    settled(predicted)
    assert np.array_equal(predicted.desk.painter.layer.data, after)
    assert predicted.correct.saved.text() == "saved #3"


def test_undo_crosses_a_restart(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    viewer = predicted.desk.viewer
    before = predicted.desk.painter.layer.data.copy()
    paint(predicted, (5, 7, 8), label=0)
    settled(predicted)
    predicted.shut()
    viewer.layers.clear()
    dock = open_dock(viewer)
    dock.case.latest.click()
    settled(dock)
    assert not np.array_equal(dock.desk.painter.layer.data, before)
    dock.correct.undo.click()
    settled(dock)
    assert np.array_equal(dock.desk.painter.layer.data, before)


def test_a_closed_dock_finds_the_session_of_an_image_again(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    viewer, path = predicted.desk.viewer, predicted.desk.session.path
    names = [layer.name for layer in viewer.layers]
    paint(predicted, (9, 3, 3))
    predicted.shut()
    dock = open_dock(viewer)
    dock.case.use.click()
    settled(dock)
    assert dock.desk.session.path == path
    assert [layer.name for layer in viewer.layers] == names
    assert dock.correct.saved.text() == "saved #1"
    assert dock.desk.painter.layer.data[9, 3, 3] == 1


def test_a_copy_of_the_tumour_layer_is_left_alone(predicted: BreastSegWidget, settled: Any) -> None:
    viewer, layer = predicted.desk.viewer, predicted.desk.painter.layer
    viewer.layers.remove(layer)
    copy = viewer.add_labels(layer.data.copy(), name="mine", metadata=layer.metadata, scale=layer.scale, units=layer.units)
    viewer.add_layer(layer)
    predicted.predict.predict.click()
    settled(predicted)
    assert copy in viewer.layers and predicted.desk.painter.layer is layer


def test_a_new_prediction_keeps_the_corrections_and_no_old_history(predicted: BreastSegWidget, settled: Any) -> None:
    old = predicted.desk.painter.layer
    paint(predicted, (9, 3, 3))
    predicted.predict.predict.click()
    paint(predicted, (10, 3, 3))
    settled(predicted)
    layer = predicted.desk.painter.layer
    assert layer is old  # to remove a layer takes napari long
    assert layer.data[9, 3, 3] == layer.data[10, 3, 3] == 1
    layer.undo()
    assert layer.data[9, 3, 3] == 1


def test_a_removed_tumour_layer_comes_back(predicted: BreastSegWidget) -> None:
    predicted.desk.viewer.layers.remove(predicted.desk.painter.layer)
    predicted.correct.paint.click()
    layer = predicted.desk.painter.layer
    assert layer in predicted.desk.viewer.layers
    assert layer.mode == "paint"
    predicted.correct.brush.setValue(7)
    assert layer.brush_size == 7  # the controls watch the one that is there


def test_what_is_put_in_the_place_of_the_mask_counts_as_painted(predicted: BreastSegWidget, settled: Any, notices: list[str]) -> None:
    layer = predicted.desk.painter.layer
    other = layer.data.astype(np.int32)  # as "Convert data type" does
    other[9, 3, 3] = 1
    layer.data = other
    assert layer.data.dtype == np.uint8 and layer.data[9, 3, 3] == 1
    paint(predicted, (10, 3, 3))
    settled(predicted)
    assert not predicted.desk.journal.unsaved
    stored = predicted.desk.session.annotation(predicted.desk.case_id)
    assert stored[9, 3, 3] == stored[10, 3, 3] == 1
    before = layer.data.copy()
    layer.data = other[:5]
    assert np.array_equal(layer.data, before) and "shape" in notices[-1]


def test_a_copy_below_the_tumour_layer_is_adopted_whole(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    from napari.layers._layer_actions import _duplicate_layer

    viewer, layer = predicted.desk.viewer, predicted.desk.painter.layer
    predicted.shut()
    viewer.layers.selection.active = layer
    _duplicate_layer(viewer.layers)
    (copy,) = [one for one in viewer.layers if one.name == "Tumour copy"]
    viewer.layers.move(viewer.layers.index(copy), viewer.layers.index(layer))
    copy.selected_label = 2
    dock = open_dock(viewer)
    dock.case.latest.click()
    settled(dock)
    used = dock.desk.painter.layer
    assert used is dock.desk.view.layer("tumour") and used.selected_label == 1
    assert [one for one in viewer.layers if one.metadata.get("breastseg_role") == "tumour"] == [used]


def test_a_stroke_that_cannot_be_saved_stays_and_is_saved_later(
    predicted: BreastSegWidget, settled: Any, notices: list[str], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise SessionError("The disk is full. Free some space.")

    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", full)
        paint(predicted, (9, 3, 3))
        qtbot.waitUntil(lambda: "The disk is full. Free some space." in notices, timeout=60_000)
        assert "not saved" in predicted.correct.saved.text()
        assert predicted.desk.painter.layer.data[9, 3, 3] == 1
    paint(predicted, (10, 3, 3))
    settled(predicted)
    assert predicted.correct.saved.text() == "saved #2"
    assert np.array_equal(predicted.desk.session.mask(predicted.desk.case_id), predicted.desk.painter.layer.data)


def test_a_change_made_elsewhere_is_caught_up_with(predicted: BreastSegWidget, settled: Any, notices: list[str], qtbot: Any) -> None:
    from napari_breastseg.session import Edit

    session, case_id = predicted.desk.session, predicted.desk.case_id
    session.record(case_id, Edit(((0, 1), (0, 1), (0, 1)), np.ones((1, 1, 1), bool), 1, "script", 0))
    paint(predicted, (9, 3, 3))
    qtbot.waitUntil(lambda: len(notices) == 1, timeout=60_000)
    predicted.correct.retry.click()
    settled(predicted)
    assert np.array_equal(session.mask(case_id), predicted.desk.painter.layer.data)
    assert session.seq(case_id) == 2


def test_marks_are_kept(predicted: BreastSegWidget, settled: Any, qtbot: Any) -> None:
    predicted.desk.viewer.dims.set_point(1, 6 * 2.0)
    predicted.correct.reviewed.click()
    predicted.correct.case_done.click()
    qtbot.waitUntil(lambda: len(predicted.desk.session.marks(predicted.desk.case_id)) == 2, timeout=60_000)
    slice_mark, case_mark = predicted.desk.session.marks(predicted.desk.case_id)
    assert slice_mark.value == {"axis": 0, "index": 6}
    assert (case_mark.what, case_mark.value) == ("case-done", True)


def test_what_is_approved_becomes_annotation_and_one_undo_takes_it_back(predicted: BreastSegWidget, settled: Any) -> None:
    desk = predicted.desk
    shown = desk.painter.layer.data.copy()
    desk.viewer.dims.set_point(1, 6 * 2.0)
    predicted.correct.reviewed.click()
    settled(predicted)
    annotation = desk.session.annotation(desk.case_id)
    assert np.array_equal(annotation[6], shown[6])
    assert (np.delete(annotation, 6, axis=0) == 255).all()
    predicted.correct.case_done.click()
    settled(predicted)
    annotation = desk.session.annotation(desk.case_id)
    assert np.array_equal(annotation[shown == 1], shown[shown == 1])
    assert [edit.tool for edit in desk.session.edits(desk.case_id)] == ["slice reviewed", "case done"]
    assert predicted.learn.learn.isEnabled()
    for _ in range(2):
        predicted.correct.undo.click()
        settled(predicted)
    assert (desk.session.annotation(desk.case_id) == 255).all()
    assert np.array_equal(desk.painter.layer.data, shown)
    assert not predicted.correct.case_done.isChecked() and not desk.session.marks(desk.case_id)[-1].value, "it is open again"


def test_a_case_that_is_done_stays_as_it_was_approved(predicted: BreastSegWidget, settled: Any, open_dock: Any) -> None:
    desk, section = predicted.desk, predicted.correct
    shown = desk.painter.layer.data.copy()
    paint(predicted, (9, 3, 3))
    desk.session.mark(desk.case_id, "case-done", True)  # nothing was approved: what a prediction adds is undecided anywhere
    desk.journal.marked.emit(Mark("case-done", True))
    assert (desk.painter.layer.data[TRUTH] == 0).all() and desk.painter.layer.data[9, 3, 3] == 1
    desk.journal.marked.emit(Mark("case-done", False))
    assert (desk.painter.layer.data[TRUTH] == 1).all()
    section.case_done.click()
    settled(predicted)
    approved = desk.painter.layer.data.copy()
    assert not section.refine.refine.isEnabled()
    other = np.zeros_like(shown)
    other[-1] = 1
    found = replace(desk.session.prediction(desk.case_id), refined=other)
    desk.session.add_prediction(desk.case_id, found)
    desk.show_prediction(found)
    for what in (desk.painter.layer.data, desk.session.mask(desk.case_id)):
        np.testing.assert_array_equal(what, approved)
    folder = desk.session.path
    predicted.shut()
    again = open_dock()
    again.desk.open_session(folder)
    settled(again)
    np.testing.assert_array_equal(again.desk.painter.layer.data, approved)
    assert again.correct.case_done.isChecked()
    again.correct.undo.click()
    settled(again)
    assert again.correct.hint.text() == "The case is open again." and not again.correct.case_done.isChecked()
    for what in (again.desk.painter.layer.data, again.desk.session.mask(again.desk.case_id)):
        assert (what[-1] == 1).all() and what[9, 3, 3] == 1
    millilitres = again.desk.painter.layer.data.sum() * again.desk.view.case.geometry.voxel_ml
    assert f"Tumour: {millilitres:.2f} mL" in again.predict.hint.text()


def test_what_a_case_saves_as_it_is_left_is_not_said_of_the_next(
    predicted: BreastSegWidget, settled: Any, sessions: Any, tiny_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, first, session = predicted.desk, predicted.desk.case_id, predicted.desk.session
    desk.use_case(replace(tiny_case, name="second", images=tiny_case.images + 1), sessions)
    settled(predicted)
    second = desk.case_id
    desk.show_case(first)
    settled(predicted)
    mark = Session.mark

    def slow(*words: Any) -> int:
        time.sleep(0.5)
        return mark(*words)

    monkeypatch.setattr(Session, "mark", slow)
    predicted.correct.case_done.click()
    desk.show_case(second)
    settled(predicted)
    assert desk.case_id == second and session.is_done(first) and not session.is_done(second)
    assert not predicted.correct.case_done.isChecked() and not desk.done and "done" not in predicted.correct.hint.text()


def test_what_fails_as_a_case_is_left_is_told(
    predicted: BreastSegWidget, settled: Any, tiny_case: Case, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = predicted.desk
    other = desk.session.add_case(replace(tiny_case, images=tiny_case.images + 1))

    def full(*_: Any) -> int:
        time.sleep(0.3)
        raise SessionError("The disk is full. Free some space.")

    monkeypatch.setattr(Session, "mark", full)
    predicted.correct.case_done.click()
    desk.show_case(other)
    settled(predicted)
    assert desk.case_id == other and notices == ["The disk is full. Free some space."]


def test_an_undo_reaches_the_layer_that_takes_the_place_of_the_one_it_was_asked_on(predicted: BreastSegWidget, settled: Any) -> None:
    desk = predicted.desk
    paint(predicted, (9, 3, 3))
    settled(predicted)
    prediction = desk.session.prediction(desk.case_id)
    desk.painter.undo()
    while not desk.journal.idle:  # the window's thread is busy, as with the result of a job
        time.sleep(0.01)
    desk.show_prediction(prediction)
    settled(predicted)
    np.testing.assert_array_equal(desk.painter.layer.data, desk.session.mask(desk.case_id))
    np.testing.assert_array_equal(desk.painter.annotation, desk.session.annotation(desk.case_id))


def test_strokes_that_cannot_be_saved_stay_on_the_canvas_when_the_case_is_left(
    predicted: BreastSegWidget, settled: Any, notices: list[str], qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def full(*_: Any) -> int:
        raise SessionError("The disk is full. Free some space.")

    layer = predicted.desk.painter.layer
    Session.create(tmp_path / "other").close()
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", full)
        paint(predicted, (9, 3, 3))
        qtbot.waitUntil(lambda: "The disk is full. Free some space." in notices, timeout=60_000)
        predicted.desk.open_session(tmp_path / "other")
        settled(predicted)
    assert any("save that layer as NIfTI now" in notice for notice in notices)
    assert layer in predicted.desk.viewer.layers
    assert layer.data[9, 3, 3] == 1


def test_learning_says_what_came_of_it_and_predicts_again(predicted: BreastSegWidget, settled: Any) -> None:
    assert not predicted.learn.learn.isEnabled()
    paint(predicted, (9, 3, 3))
    settled(predicted)
    predicted.learn.learn.click()
    settled(predicted)
    settled(predicted)
    assert "Adopted" in predicted.learn.hint.text()
    assert "held-out corrections rose" in predicted.learn.hint.text()
    assert len(predicted.desk.session.predictions(predicted.desk.case_id)) == 2


def test_a_version_that_is_not_adopted_is_said_so(predicted: BreastSegWidget, settled: Any, loop: FakeLoop) -> None:
    loop.adopted = False
    paint(predicted, (9, 3, 3))
    settled(predicted)
    predicted.learn.learn.click()
    settled(predicted)
    assert "Not adopted" in predicted.learn.hint.text()
    assert len(predicted.desk.session.predictions(predicted.desk.case_id)) == 1


def test_cancel_closes_the_job_and_changes_nothing(dock_with_case: BreastSegWidget, settled: Any, loop: FakeLoop, qtbot: Any) -> None:
    loop.endless = True
    dock_with_case.predict.predict.click()
    qtbot.waitUntil(lambda: dock_with_case.predict.bar.bar.value() == 1, timeout=60_000)
    dock_with_case.predict.bar.cancel.click()
    settled(dock_with_case)
    assert loop.closed == ["predict"]
    assert "Cancelled" in dock_with_case.predict.hint.text()
    assert dock_with_case.desk.session.predictions(dock_with_case.desk.case_id) == []
    assert dock_with_case.predict.predict.isEnabled()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ComputeError("The GPU is out of memory. Choose the CPU."), "The GPU is out of memory. Choose the CPU."),
        (RuntimeError("index out of range in self"), "Something unexpected happened (RuntimeError)"),
        (MemoryError(), "Something unexpected happened (MemoryError)"),
    ],
)
def test_an_error_in_a_job_becomes_one_sentence(
    dock_with_case: BreastSegWidget, settled: Any, loop: FakeLoop, notices: list[str], error: Exception, sentence: str
) -> None:
    loop.error = error
    dock_with_case.predict.predict.click()
    settled(dock_with_case)
    assert len(notices) == 1
    assert notices[0].startswith(sentence)
    assert "Traceback" not in notices[0]
    assert dock_with_case.predict.predict.isEnabled()


def test_every_method_can_be_chosen(predicted: BreastSegWidget, settled: Any, loop: FakeLoop, tmp_path: Any) -> None:
    """What is chosen counts from Predict on; what is in use is said, and what Versions puts in use is chosen."""
    from safetensors.numpy import save_file

    from napari_breastseg.methods import DEFAULT

    section, session = predicted.predict, predicted.desk.session
    assert {section.method.itemData(place) for place in range(section.method.count())} == set(DEFAULT)
    section.method.setCurrentText("TSESNet")
    predicted.desk.changed.emit()
    section.predict.click()
    settled(predicted)
    assert loop.methods == ["hcma-unet", "tsesnet"]
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    sha = session.add_model(tmp_path / "w.safetensors", {"preset": "hcnet/compact"})
    session.use_model(sha)
    predicted.desk.changed.emit()
    assert section.method.currentText() == "HCNet"
    assert section.model.text() == f"In use: HCNet, version {sha[:8]}"


def test_versions_lists_models_and_goes_back_to_one(predicted: BreastSegWidget, settled: Any, tmp_path: Any) -> None:
    from safetensors.numpy import save_file

    session = predicted.desk.session
    shas = []
    for number in range(2):
        save_file({"w": np.full(3, number, np.float32)}, tmp_path / "w.safetensors")
        shas.append(session.add_model(tmp_path / "w.safetensors", {"parent": shas[0] if shas else None, "trained_on": "phantoms"}))
        session.use_model(shas[-1])
    session.add_round([predicted.desk.case_id], shas[0], shas[1], True, ["It is better."], {}, {})
    predicted.desk.changed.emit()
    settled(predicted)
    table = predicted.versions.table
    assert [table.item(line, 3).text() for line in range(2)] == ["in use", "starter"]
    assert "It is better." in table.item(0, 0).toolTip()
    table.selectRow(1)
    predicted.versions.use.click()
    settled(predicted)
    assert session.current_model == shas[0]


def test_a_session_that_is_open_elsewhere_is_read_only_and_says_who_holds_it(
    dock_with_case: BreastSegWidget, open_dock: Any, settled: Any
) -> None:
    path = dock_with_case.desk.session.path
    second = open_dock()
    second.desk.open_session(path)
    settled(second)
    assert second.desk.read_only
    assert "open in process" in second.case.session_text.text()
    assert not second.predict.predict.isEnabled()
    assert "Paint" not in second.predict.hint.text() and "Press" not in second.learn.hint.text() + second.predict.hint.text()
    assert "open elsewhere" in second.learn.hint.text()
    assert not second.correct.paint.isEnabled()
    assert not second.desk.painter.layer.editable


def test_strokes_that_could_not_be_saved_outlive_coming_back_to_their_case(
    predicted: BreastSegWidget, settled: Any, qtbot: Any, notices: list[str], monkeypatch: pytest.MonkeyPatch, tiny_case: Case
) -> None:
    def full(*_: Any) -> int:
        raise SessionError("The disk is full. Free some space.")

    desk, layer = predicted.desk, predicted.desk.painter.layer
    first, other = desk.case_id, desk.session.add_case(replace(tiny_case, images=tiny_case.images + 1))
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", full)
        paint(predicted, (9, 3, 3))
        qtbot.waitUntil(lambda: bool(notices), timeout=60_000)
        desk.show_case(other)
        settled(predicted)
    assert (layer.name, layer.visible) == ("Tumour, not saved", False)
    desk.show_case(first)
    settled(predicted)
    assert layer in desk.viewer.layers and layer is not desk.painter.layer
    assert layer.data[9, 3, 3] == 1
    assert layer.metadata["breastseg_geometry"] is not None


def test_nothing_of_another_case_is_drawn_after_the_dock_was_closed(
    predicted: BreastSegWidget, open_dock: Any, settled: Any, tiny_case: Case
) -> None:
    viewer = predicted.desk.viewer
    other = predicted.desk.session.add_case(replace(tiny_case, images=tiny_case.images + 1))
    left, path = list(viewer.layers), predicted.desk.session.path
    predicted.shut()
    dock = open_dock(viewer)
    dock.desk.open_session(path, other)
    settled(dock)
    assert [layer for layer in left if layer in viewer.layers and (layer.visible or layer.name == "Tumour")] == []
    assert dock.desk.painter.layer.data.sum() == 0


def test_images_that_were_opened_by_the_dock_go_with_their_case(
    predicted: BreastSegWidget, open_dock: Any, settled: Any, tiny_case: Case
) -> None:
    other = predicted.desk.session.add_case(replace(tiny_case, images=tiny_case.images[:, :6].copy()))
    first, path = predicted.desk.case_id, predicted.desk.session.path
    predicted.shut()
    dock = open_dock()
    for case_id, slices in ((first, 12), (other, 6), (first, 12)):
        if dock.desk.session is None:
            dock.desk.open_session(path, case_id)
        else:
            dock.desk.show_case(case_id)
        settled(dock)
        assert {layer.data.shape[-3] for layer in dock.desk.viewer.layers} == {slices}


def test_a_duplicate_is_not_taken_for_the_tumour(predicted: BreastSegWidget, settled: Any) -> None:
    from napari.layers._layer_actions import _duplicate_layer

    desk = predicted.desk
    viewer, layer = desk.viewer, desk.painter.layer
    viewer.layers.selection.active = layer
    _duplicate_layer(viewer.layers)
    (copy,) = [one for one in viewer.layers if one.name == "Tumour copy"]
    assert "breastseg_role" not in copy.metadata and layer.metadata["breastseg_role"] == "tumour"
    viewer.layers.remove(layer)
    predicted.correct.paint.click()
    assert copy in viewer.layers and desk.view.layer("tumour") is desk.painter.layer


def test_a_prediction_waits_until_the_mouse_is_released(predicted: BreastSegWidget, settled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = predicted.desk.painter
    with monkeypatch.context() as held:
        held.setattr(desk_module, "mouse_is_down", lambda: True)
        predicted.predict.predict.click()
        settled(predicted)
        assert predicted.desk.painter is painter
    settled(predicted)
    settled(predicted)
    assert predicted.desk.painter is not painter
