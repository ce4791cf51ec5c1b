"""Time travel in the section Versions: show, compare, go back, and take that back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QMessageBox
from safetensors.numpy import save_file

from napari_breastseg.case import Case
from napari_breastseg.errors import SessionError
from napari_breastseg.session import Session
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.view.layers import role_of
from napari_breastseg.widgets.view.version_layers import ADDED, REMOVED

from .conftest import paint

pytestmark = pytest.mark.qt
MARKUP = "<img src='//host/share/x'> & <b>bold</b>"


@pytest.fixture
def read(settled: Any, qtbot: Any) -> Callable[[BreastSegWidget], None]:
    """Wait until nothing has been going on for a while: a stroke that is saved has the history read, and that what is shown."""

    def wait(dock: BreastSegWidget) -> None:
        section, quiet = dock.versions, 0
        while quiet < 3:
            settled(dock)
            quiet = 0 if section._soon.isActive() or section.travel._soon.isActive() or section.reading.busy else quiet + 1

    return wait


@pytest.fixture
def painted(predicted: BreastSegWidget, read: Any) -> BreastSegWidget:
    """A predicted case with three strokes: two dabs in the slice 9 and one erased in the slice 5."""
    predicted.correct.paint.click()
    paint(predicted, (9, 3, 3))
    paint(predicted, (9, 12, 14))
    predicted.correct.erase.click()
    paint(predicted, (5, 7, 8), label=0)
    read(predicted)
    return predicted


def layer(dock: BreastSegWidget, role: str) -> Any:
    return next((layer for layer in dock.desk.viewer.layers if role_of(layer) == role), None)


def entries(dock: BreastSegWidget) -> list[str]:
    timeline = dock.versions.timeline
    return [timeline.item(line).text() for line in range(timeline.count())]


def test_the_timeline_lists_what_happened_the_latest_first(painted: BreastSegWidget, read: Any) -> None:
    strokes, prediction = entries(painted)
    assert strokes.startswith("2 x brush, eraser\n")
    assert strokes.endswith(" voxels")
    assert prediction.startswith("Prediction by abababab\n")
    assert painted.versions.travel.total.text() == "of 3"
    painted.correct.case_done.click()
    painted.desk.journal.marked.connect(lambda _: painted.desk.changed.emit())
    read(painted)
    assert entries(painted)[0].startswith("Case done\n")


def test_every_single_edit_can_be_shown_but_not_painted_on(painted: BreastSegWidget, read: Any) -> None:
    section, session, case_id = painted.versions, painted.desk.session, painted.desk.case_id
    section.travel.slider.setValue(1)
    section.travel.shown.click()
    read(painted)
    shown = layer(painted, "version")
    assert shown.name == "Version 1"
    assert not shown.editable
    assert [str(unit) for unit in shown.units] == ["millimeter"] * 3
    assert np.array_equal(shown.data, session.mask(case_id, section.travel.version))
    assert (shown.data[9, 3, 3], shown.data[9, 12, 14], shown.data[5, 7, 8]) == (1, 0, 1)
    assert painted.desk.viewer.layers.selection.active is painted.desk.painter.layer
    assert painted.desk.painter.layer.contour == 1
    for seq in range(4):
        section.travel.slider.setValue(seq)
        read(painted)
        assert layer(painted, "version") is shown
        assert shown.name == f"Version {seq}"
        assert np.array_equal(shown.data, session.mask(case_id, section.travel.version))
    section.travel.shown.click()
    assert layer(painted, "version") is None
    assert painted.desk.painter.layer.contour == 0


def test_comparing_says_which_voxels_when_and_by_what(painted: BreastSegWidget, read: Any) -> None:
    section = painted.versions
    before, now = painted.desk.session.mask(painted.desk.case_id, section._history.version_at(1)), painted.desk.painter.layer.data
    section.travel.slider.setValue(1)
    section.travel.compare.click()
    read(painted)
    drawn = layer(painted, "changes").data
    assert np.array_equal(drawn == ADDED, (now == 1) & (before == 0))
    assert np.array_equal(drawn == REMOVED, (now == 0) & (before == 1))
    legend, table = section.travel.compared.legend.text(), section.travel.compared.table
    assert f"Added since: {(drawn == ADDED).sum()} voxels" in legend
    assert f"Removed since: {(drawn == REMOVED).sum()} voxels" in legend
    rows = [[table.item(line, column).text() for column in range(4)] for line in range(table.rowCount())]
    assert [row[0] for row in rows] == ["eraser #3", "brush #2"]
    assert [row[2:] for row in rows] == [["0", str((drawn == REMOVED).sum())], [str((drawn == ADDED).sum()), "0"]]
    section.travel.shown.click()
    read(painted)
    assert (layer(painted, "changes"), section.travel.compare.isChecked()) == (None, False)
    assert layer(painted, "version") is not None


def test_a_comparison_with_now_follows_what_is_painted(painted: BreastSegWidget, read: Any) -> None:
    painted.versions.travel.slider.setValue(3)
    painted.versions.travel.compare.click()
    read(painted)
    assert "same" in painted.versions.hint.text()
    paint(painted, (2, 3, 3))
    read(painted)
    assert painted.versions.travel.version.seq in (3, 4)
    painted.versions.travel.slider.setValue(3)
    read(painted)
    assert (layer(painted, "changes").data[2] == ADDED).any()


def test_what_is_shown_is_shown_anew_without_a_jump_or_a_word(painted: BreastSegWidget, read: Any) -> None:
    section, dims = painted.versions, painted.desk.viewer.dims
    section.travel.slider.setValue(1)
    section.travel.compare.click()
    read(painted)
    assert painted.desk.view.slice_index(0) in (5, 6, 7, 8, 9)
    dims.set_point(1, 2 * 2.0)
    section.travel.back.click()
    read(painted)
    assert "version 1 again" in section.hint.text()
    assert not section.travel.compared.isVisibleTo(section)
    painted.correct.undo.click()
    read(painted)
    dims.set_point(1, 2 * 2.0)
    paint(painted, (2, 3, 3), label=1)
    read(painted)
    assert (layer(painted, "changes").data[2] == ADDED).any()
    assert painted.desk.view.slice_index(0) == 2


def test_going_back_is_an_edit_that_undo_takes_back(painted: BreastSegWidget, read: Any) -> None:
    section, session, case_id = painted.versions, painted.desk.session, painted.desk.case_id
    now = painted.desk.painter.layer.data.copy()
    assert not section.travel.back.isEnabled()
    section.travel.slider.setValue(1)
    section.travel.back.click()
    read(painted)
    assert painted.correct.saved.text() == "saved #4"
    assert "version 1 again, saved #4" in section.hint.text()
    assert np.array_equal(painted.desk.painter.layer.data, session.mask(case_id))
    assert np.array_equal(session.annotation(case_id), session.annotation(case_id, 1))
    section.travel.back.click()
    read(painted)
    assert "already" in section.hint.text()
    painted.correct.undo.click()
    read(painted)
    assert np.array_equal(painted.desk.painter.layer.data, now)
    assert session.seq(case_id) == 5


def test_strokes_that_are_on_their_way_are_saved_before_going_back(painted: BreastSegWidget, read: Any) -> None:
    painted.versions.travel.slider.setValue(2)
    paint(painted, (10, 3, 3))
    painted.versions.travel.back.click()
    paint(painted, (11, 3, 3))
    read(painted)
    session, case_id = painted.desk.session, painted.desk.case_id
    assert [edit.tool for edit in session.edits(case_id)][3:] == ["eraser", "back to 2", "eraser"]
    assert np.array_equal(painted.desk.painter.layer.data, session.mask(case_id))


def test_a_version_from_before_a_restart(painted: BreastSegWidget, open_dock: Any, read: Any, settled: Any) -> None:
    viewer = painted.desk.viewer
    painted.versions.travel.slider.setValue(1)
    painted.versions.travel.back.click()
    read(painted)
    painted.shut()
    viewer.layers.clear()
    dock = open_dock(viewer)
    dock.case.latest.click()
    settled(dock)
    read(dock)
    assert entries(dock)[0].startswith("2 x brush, eraser, back to 1\n")
    dock.versions.travel.slider.setValue(3)
    dock.versions.travel.shown.click()
    read(dock)
    assert layer(dock, "version").data[9, 12, 14] == 1
    dock.versions.travel.back.click()
    read(dock)
    assert dock.desk.painter.layer.data[9, 12, 14] == 1
    dock.correct.undo.click()
    read(dock)
    assert dock.desk.painter.layer.data[9, 12, 14] == 0
    assert np.array_equal(dock.desk.painter.layer.data, dock.desk.session.mask(dock.desk.case_id))


def test_an_entry_brings_its_own_version(painted: BreastSegWidget, read: Any) -> None:
    painted.predict.predict.click()
    read(painted)
    timeline, travel = painted.versions.timeline, painted.versions.travel
    assert [text.split("\n")[0] for text in entries(painted)] == ["Prediction by abababab", "2 x brush, eraser", "Prediction by abababab"]
    timeline.setCurrentRow(2)
    assert (travel.version.seq, travel.version.prediction) == (0, 1)
    timeline.itemDoubleClicked.emit(timeline.item(2))
    read(painted)
    assert layer(painted, "version").name == "Version 0 on prediction 1"
    timeline.setCurrentRow(0)
    assert travel.version == painted.desk.session.now(painted.desk.case_id)


def test_a_removed_layer_is_no_longer_shown(painted: BreastSegWidget, read: Any) -> None:
    painted.versions.travel.shown.click()
    read(painted)
    painted.desk.viewer.layers.remove(layer(painted, "version"))
    read(painted)
    assert not painted.versions.travel.shown.isChecked()


def test_a_case_that_is_left_is_left_as_it_was(painted: BreastSegWidget, read: Any, tiny_case: Case) -> None:
    from dataclasses import replace

    other = painted.desk.session.add_case(replace(tiny_case, images=tiny_case.images + 1))
    first = painted.desk.case_id
    painted.versions.travel.shown.click()
    read(painted)
    painted.desk.show_case(other)
    read(painted)
    assert (layer(painted, "version"), painted.versions.travel.shown.isChecked()) == (None, False)
    assert painted.versions.timeline.count() == 0
    painted.desk.show_case(first)
    read(painted)
    assert painted.desk.painter.layer.contour == 0
    assert painted.versions.travel.total.text() == "of 3"


def test_saved_strokes_only_move_a_number_until_the_hand_rests(
    painted: BreastSegWidget, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("timeline", "now", "models", "rounds", "edits"):
        original = getattr(Session, name)
        monkeypatch.setattr(Session, name, lambda self, *a, _n=name, _o=original: (asked.append(_n), _o(self, *a))[1])
    painted.desk.saved.emit(7)
    assert painted.versions.travel.total.text() == "of 7"
    assert asked == []
    read(painted)
    assert "timeline" in asked
    assert painted.versions.travel.total.text() == "of 3"


def test_what_cannot_be_read_is_told_in_one_sentence(
    painted: BreastSegWidget, read: Any, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> None:
        raise SessionError("Edit 2 is damaged. Restore the session from a backup.")

    monkeypatch.setattr(Session, "mask", damaged)
    painted.versions.travel.shown.click()
    read(painted)
    assert notices == ["Edit 2 is damaged. Restore the session from a backup."]
    assert not painted.versions.travel.shown.isChecked()


def test_words_of_a_session_are_never_markup(painted: BreastSegWidget, read: Any, tmp_path: Any) -> None:
    session = painted.desk.session
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    sha = session.add_model(tmp_path / "w.safetensors", {"parent": None, "trained_on": MARKUP})
    session.add_round([painted.desk.case_id], None, sha, True, [MARKUP], {}, {})
    painted.desk.changed.emit()
    read(painted)
    shown = painted.versions.table.item(0, 0).toolTip()
    assert "‹img src=" in shown
    assert not Qt.mightBeRichText(shown)
    assert painted.versions.hint.textFormat() == Qt.TextFormat.PlainText


def test_a_model_is_made_current_off_the_main_thread(painted: BreastSegWidget, read: Any, tmp_path: Any, qtbot: Any) -> None:
    import threading

    session, threads = painted.desk.session, []
    shas = []
    for number in range(2):
        save_file({"w": np.full(3, number, np.float32)}, tmp_path / "w.safetensors")
        shas.append(session.add_model(tmp_path / "w.safetensors", {"parent": None}))
        session.use_model(shas[-1])
    session.add_round([painted.desk.case_id], shas[0], shas[1], False, ["It is no better."], {}, {})
    use = Session.use_model

    def watched(self: Session, sha: str) -> None:
        threads.append(threading.current_thread())
        use(self, sha)

    painted.desk.changed.emit()
    read(painted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "use_model", watched)
        asked: list[str] = []
        patch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or QMessageBox.StandardButton.Yes)
        painted.versions.table.selectRow(1)
        painted.versions.use.click()
        read(painted)
        assert session.current_model == shas[0]
        painted.versions.timeline.setCurrentRow(next(i for i, text in enumerate(entries(painted)) if "Learned" in text))
        assert painted.versions.travel.back.text() == "Use this model"
        painted.versions.travel.back.click()
        read(painted)
    assert session.current_model == shas[1]
    assert len(asked) == 1 and "It is no better." in asked[0], "the gate refused one of them"
    assert [event.details["round"] for event in session.events() if event.kind == "overruled"] == [1]
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_in_a_real_window_versions_are_shown_compared_and_gone_back_to(window_dock: BreastSegWidget, read: Any, qtbot: Any) -> None:
    dock, viewer = window_dock, window_dock.desk.viewer
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    dock.correct.paint.click()
    for step in range(2):
        start = middle + QPoint(0, 40 * step)
        qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
        qtbot.mouseMove(canvas, start + QPoint(40, 0))
        qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(40, 0))
    read(dock)
    session, case_id, section = dock.desk.session, dock.desk.case_id, dock.versions
    assert session.seq(case_id) == 2
    now = dock.desk.painter.layer.data.copy()
    dock.scroll_area.ensureWidgetVisible(section.timeline)
    qtbot.waitUntil(lambda: len(section.timeline._pictures) == section.timeline.count() > 0, timeout=60_000)
    section.travel.slider.setFocus()
    qtbot.keyClick(section.travel.slider, Qt.Key.Key_Left)
    assert section.travel.version.seq == 1
    for pressed, role in ((section.travel.shown, "version"), (section.travel.compare, "changes")):
        dock.scroll_area.ensureWidgetVisible(pressed)
        qtbot.mouseClick(pressed, Qt.MouseButton.LeftButton)
        read(dock)
        assert layer(dock, role).data.any()
        assert [layer.name for layer in viewer.layers][-1] == "Tumour"
    dock.scroll_area.ensureWidgetVisible(section.travel.back)
    qtbot.mouseClick(section.travel.back, Qt.MouseButton.LeftButton)
    read(dock)
    assert dock.correct.saved.text() == "saved #3"
    assert not np.array_equal(dock.desk.painter.layer.data, now)
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.seq(case_id) == 4, timeout=60_000)
    read(dock)
    assert np.array_equal(dock.desk.painter.layer.data, now)
    assert dock.width() <= 400


def test_going_back_that_fails_says_so(painted: BreastSegWidget, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SessionError("The disk is full. Free some space.")

    monkeypatch.setattr(Session, "checkout", full)
    painted.desk.viewer.layers.selection.active = painted.desk.view.layer("case")
    painted.versions.travel.slider.setValue(1)
    painted.versions.travel.back.click()
    assert painted.desk.viewer.layers.selection.active is painted.desk.painter.layer
    read(painted)
    assert painted.versions.hint.text() == "Going back did not work. Nothing was changed."


def test_the_borrowed_outline_is_neither_kept_nor_taken_from_the_person(painted: BreastSegWidget, read: Any) -> None:
    travel, desk = painted.versions.travel, painted.desk
    travel.slider.setValue(1)
    travel.shown.click()
    read(painted)
    assert (desk.painter.layer.contour, desk._look().look("tumour").contour) == (1, 0)
    painted.predict.predict.click()
    read(painted)
    assert desk.painter.layer.contour == 1
    shown = layer(painted, "version")
    shown.visible = False
    travel.slider.setValue(2)
    read(painted)
    assert not shown.visible
    desk.viewer.layers.remove(shown)
    read(painted)
    assert (desk.painter.layer.contour, painted.versions.hint.text()) == (0, "")
    travel.shown.click()
    read(painted)
    desk.painter.layer.contour = 3
    travel.shown.click()
    assert desk.painter.layer.contour == 3


def test_words_fit_what_is_shown(painted: BreastSegWidget, read: Any) -> None:
    section = painted.versions
    section.travel.compare.click()
    read(painted)
    assert section.hint.text() == "The tumour of version 3 is the same as now. Choose an earlier entry first."
    section.travel.slider.setValue(2)
    read(painted)
    assert "Compared with version 2" in section.hint.text()
    painted.correct.undo.click()
    read(painted)
    assert section.hint.text() == "The tumour of version 2 is the same as now."
    painted.correct.redo.click()
    read(painted)
    assert "Compared with version 2" in section.hint.text()
    painted.desk.painter.layer.visible = False
    section.travel.shown.click()
    read(painted)
    assert section.hint.text() == "Green is version 2. Press Show again to hide it."
    assert section.column.indexOf(section.hint) == section.column.indexOf(section.travel) + 1


def test_an_entry_that_differs_in_its_prediction_says_why_there_is_no_way_back(painted: BreastSegWidget, read: Any) -> None:
    painted.predict.predict.click()
    read(painted)
    section = painted.versions
    section.timeline.setCurrentRow(1)
    assert not section.travel.back.isEnabled()
    assert "only the prediction below it differs" in section.hint.text() and section.hint.text() == section.travel.back.toolTip()
    section.travel.slider.setValue(1)
    section.travel.slider.setValue(3)
    assert (section.travel.version, section.hint.text()) == (section._history.now, "")
