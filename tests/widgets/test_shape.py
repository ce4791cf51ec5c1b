"""The tools that shape the tumour: what each does to the mask that is shown, and that undo takes it back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_breastseg.case import Case
from napari_breastseg.editing.change import Change
from napari_breastseg.editing.shape import copied
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.parts import shape
from napari_breastseg.widgets.parts.shape import CASE, SLICE

from .conftest import TRUTH, paint

pytestmark = pytest.mark.qt


def mask(dock: BreastSegWidget) -> np.ndarray:
    return np.array(dock.desk.painter.layer.data)


def look_at(dock: BreastSegWidget, z: int) -> None:
    viewer = dock.desk.viewer
    viewer.dims.set_point(viewer.dims.ndim - 3, z * dock.desk.view.case.geometry.spacing[0])


@pytest.fixture
def used(predicted: BreastSegWidget, settled: Any, qtbot: Any) -> Any:
    """Press a button of the tools and return the mask before and after it; the journal says what is shown, and undo takes it back."""

    def press(press: Any, tool: str) -> tuple[np.ndarray, np.ndarray]:
        tools, desk = predicted.correct.shape, predicted.desk
        before, seq = mask(predicted), desk.journal.seq
        press()
        qtbot.waitUntil(lambda: not tools.reading.busy, timeout=60_000)
        settled(predicted)
        after = mask(predicted)
        assert [row.tool for row in desk.session.edits(desk.case_id)][seq:] == [tool]
        assert np.array_equal(desk.session.mask(desk.case_id), after)
        predicted.correct.undo.click()
        settled(predicted)
        assert np.array_equal(mask(predicted), before)
        predicted.correct.redo.click()
        settled(predicted)
        assert np.array_equal(mask(predicted), after)
        return before, after

    return press


def test_slices_between_two_that_were_painted_are_filled(predicted: BreastSegWidget, used: Any, settled: Any) -> None:
    predicted.correct.brush.setValue(3)
    paint(predicted, (8, 14, 4))
    paint(predicted, (11, 14, 4))
    settled(predicted)
    before, after = used(predicted.correct.shape.between.click, "between slices")
    assert before[8].any() and not before[9].any() and not before[10].any()
    assert all(np.array_equal(after[z], before[8]) for z in range(8, 12))
    assert np.array_equal(after[:8], before[:8])


def test_nothing_between_is_explained(predicted: BreastSegWidget, settled: Any, qtbot: Any) -> None:
    paint(predicted, (4, 4, 6))
    settled(predicted)
    predicted.correct.shape.between.click()
    qtbot.waitUntil(lambda: "There are no slices to fill" in predicted.correct.hint.text(), timeout=60_000)
    assert predicted.desk.journal.seq == 1


def test_the_slice_looked_at_before_is_copied(predicted: BreastSegWidget, used: Any, notices: list[str]) -> None:
    tools = predicted.correct.shape
    look_at(predicted, 7)
    look_at(predicted, 8)
    before, after = used(tools.copy.click, "copy slice")
    assert not before[8].any()
    assert np.array_equal(after[8], before[7])
    assert np.array_equal(np.delete(after, 8, 0), np.delete(before, 8, 0))


def test_copying_needs_a_slice_to_copy_from(dock_with_case: BreastSegWidget, notices: list[str]) -> None:
    dock_with_case.correct.shape.on_case()
    dock_with_case.correct.shape.copy.click()
    assert notices == ["There is no slice to copy from yet. Move to the next slice first."]


@pytest.mark.parametrize("scope", [SLICE, CASE])
def test_holes_are_filled_where_asked(predicted: BreastSegWidget, used: Any, settled: Any, scope: str) -> None:
    predicted.correct.brush.setValue(1)
    paint(predicted, (5, 7, 8), 0)
    paint(predicted, (6, 7, 8), 0)
    settled(predicted)
    tools = predicted.correct.shape
    tools.scope.setCurrentText(scope)
    look_at(predicted, 6)
    before, after = used(tools.holes.click, "fill holes")
    assert before[5, 7, 8] == before[6, 7, 8] == 0
    assert (after[5, 7, 8], after[6, 7, 8]) == ((0, 1) if scope == SLICE else (1, 1))


def test_smoothing_and_snapping_say_when_there_is_nothing_to_do(predicted: BreastSegWidget, qtbot: Any, settled: Any) -> None:
    tools = predicted.correct.shape
    look_at(predicted, 0)
    for tool, words in ((tools.smooth, "smooth already"), (tools.snap, "on the edges already"), (tools.holes, "no holes")):
        tool.click()
        qtbot.waitUntil(lambda: not tools.reading.busy and words in predicted.correct.hint.text(), timeout=60_000)  # noqa: B023
    settled(predicted)
    assert predicted.desk.journal.seq == 0


def test_a_tool_that_finishes_on_another_case_changes_nothing(
    predicted: BreastSegWidget, tiny_case: Case, settled: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, tools = predicted.desk, predicted.correct.shape
    session, first = desk.session, desk.case_id
    other = session.add_case(Case("other", tiny_case.images + 1, tiny_case.geometry, tiny_case.times))
    seen = threading.Event()

    def slow(mask: np.ndarray, axis: int, source: int, target: int) -> Change | None:
        assert seen.wait(60)
        return copied(mask, axis, source, target)

    monkeypatch.setattr(shape, "copied", slow)
    look_at(predicted, 7)
    look_at(predicted, 8)
    tools.copy.click()
    desk.show_case(other)
    settled(predicted)
    assert desk.case_id == other
    seen.set()
    tools.reading.ask("after it", lambda: None, lambda _: None)
    qtbot.waitUntil(lambda: not tools.reading.busy, timeout=60_000)
    settled(predicted)
    assert session.seq(first) == session.seq(other) == 0
    assert not mask(predicted).any()


def test_clicks_of_the_mouse(window_dock: BreastSegWidget, settled: Any, qtbot: Any, notices: list[str]) -> None:
    """Grow a region, remove the one, keep the other: with the mouse in a real window. A drag pans and is no click."""
    dock, viewer = window_dock, window_dock.desk.viewer
    desk, tools = dock.desk, dock.correct.shape
    canvas = viewer.window._qt_viewer.canvas
    spacing = desk.view.case.geometry.spacing
    look_at(dock, 6)

    def at(y: int, x: int) -> QPoint:
        to_canvas = canvas.view.scene.node_transform(canvas.view.canvas.scene)
        place = to_canvas.map((x * spacing[2], y * spacing[1]))
        return QPoint(round(place[0] / place[3]), round(place[1] / place[3]))

    def click(y: int, x: int) -> None:
        qtbot.mouseMove(canvas.native, at(y, x))
        qtbot.mouseClick(canvas.native, Qt.MouseButton.LeftButton, pos=at(y, x))
        qtbot.waitUntil(lambda: not tools.reading.busy, timeout=60_000)
        settled(dock)

    def done() -> list[str]:
        return [row.tool for row in desk.session.edits(desk.case_id)]

    dock.correct.brush.setValue(1)
    paint(dock, (6, 2, 2))
    settled(dock)
    start = mask(dock)
    tools.scope.setCurrentText(SLICE)
    tools.remove.click()
    assert tools.remove.isChecked()
    click(2, 2)
    assert done() == ["edit", "remove region"]
    assert not mask(dock)[6, 2, 2]
    click(7, 8)
    assert done() == ["edit", "remove region", "remove region"]
    assert not mask(dock)[6].any()
    assert np.array_equal(np.delete(mask(dock), 6, 0), np.delete(start, 6, 0))
    dock.correct.undo.click()
    dock.correct.undo.click()
    settled(dock)
    assert np.array_equal(mask(dock), start)
    tools.keep.click()
    assert not tools.remove.isChecked()
    middle = at(7, 8)
    qtbot.mousePress(canvas.native, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(1, 6):
        qtbot.mouseMove(canvas.native, middle + QPoint(5 * step, 0))
    qtbot.mouseRelease(canvas.native, Qt.MouseButton.LeftButton, pos=middle + QPoint(25, 0))
    settled(dock)
    assert np.array_equal(mask(dock), start)
    click(7, 8)
    assert done()[-1] == "keep region"
    assert not mask(dock)[6, 2, 2] and mask(dock)[6, 7, 8]
    dock.correct.paint.click()
    assert not tools.keep.isChecked()
    probability = np.zeros(start.shape, np.float32)
    probability[TRUTH] = 0.9
    probability[6, 7, 12:15] = 0.5
    desk.view.layer("probability").data = probability
    tools.grow.click()
    assert str(desk.painter.layer.mode) == "pan_zoom"
    before = mask(dock)
    click(7, 8)
    assert done()[-1] == "grow"
    assert [tuple(place) for place in np.argwhere(mask(dock) != before)] == [(6, 7, 12), (6, 7, 13), (6, 7, 14)]
    click(2, 2)
    assert done().count("grow") == 1
    assert "nothing can grow" in notices[-1]
