"""Keys do what the dock says they do, can be chosen in Preferences, and lead from doubt to doubt and slice to slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from app_model.types import KeyBinding
from qtpy.QtCore import Qt

from napari_breastseg.case import Case
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import TRUTH

pytestmark = pytest.mark.qt


def press(dock: BreastSegWidget, key: str) -> None:
    viewer = dock.desk.viewer
    viewer.keymap[KeyBinding.from_str(key)](viewer)


def bound(dock: BreastSegWidget) -> set[str]:
    return {str(key) for key in dock.desk.viewer.keymap}


def words(dock: BreastSegWidget, qtbot: Any) -> str:
    qtbot.waitUntil(lambda: not dock.correct.places.reading.busy, timeout=60_000)
    return str(dock.correct.hint.text())


def z(dock: BreastSegWidget) -> int:
    return int(dock.desk.view.slice_index(0))


def test_every_key_of_the_manifest_is_bound_and_listed_until_the_dock_closes(predicted: BreastSegWidget, own_preferences: Any) -> None:
    chosen = own_preferences.keys
    fields = type(chosen).model_fields
    assert len(fields) == 16
    assert bound(predicted) >= {field.default for field in fields.values()}
    listed = predicted.key_list.list.text()
    assert all(str(field.title) in listed and str(field.default) in listed for field in fields.values())
    predicted.shut()
    assert not bound(predicted) & {field.default for field in fields.values()}


def test_a_key_is_chosen_in_preferences(predicted: BreastSegWidget, own_preferences: Any, notices: list[str]) -> None:
    chosen = own_preferences.keys
    chosen.paint = "Shift+P"
    assert "Shift+P" in bound(predicted)
    assert "D" not in bound(predicted)
    assert "Shift+P" in predicted.key_list.list.text()
    press(predicted, "Shift+P")
    assert str(predicted.desk.painter.layer.mode) == "paint"
    chosen.erase = "nonsense"
    assert 'a key that there is not: "nonsense"' in notices[-1]
    chosen.erase = "N"
    assert notices[-1] == "Preferences give N to two actions: only the first has it."
    chosen.erase = ""
    assert "W" not in bound(predicted)
    assert "Erase" not in predicted.key_list.list.text()


def test_from_slice_to_slice_with_tumour_that_was_not_reviewed(predicted: BreastSegWidget, settled: Any, qtbot: Any) -> None:
    first, last = TRUTH[0].start, TRUTH[0].stop - 1
    predicted.desk.view.show_slice(0, first)
    press(predicted, "S")
    assert "3 to check" in words(predicted, qtbot)
    assert z(predicted) == first + 1
    press(predicted, "A")  # reviewed, and on to the next
    settled(predicted)
    words(predicted, qtbot)
    assert z(predicted) == first + 2
    press(predicted, "Shift+S")
    words(predicted, qtbot)
    assert z(predicted) == first  # the one that was reviewed is passed over
    press(predicted, "Shift+S")
    words(predicted, qtbot)
    assert z(predicted) == last  # from the last again
    for _ in range(3):
        press(predicted, "A")
        settled(predicted)
        said = words(predicted, qtbot)
    assert said == "No other slice with tumour is left to check."
    marks = [mark.value["index"] for mark in predicted.desk.session.marks(predicted.desk.case_id)]
    assert sorted(marks) == [first, first + 1, first + 2, last]


def test_from_doubt_to_doubt(predicted: BreastSegWidget, settled: Any, qtbot: Any) -> None:
    press(predicted, "N")
    assert "unsure of nothing" in words(predicted, qtbot)
    probability = np.zeros(predicted.desk.view.case.shape, np.float32)
    probability[1:6, 2:14, 2:8] = 0.5
    probability[8:11, 4:8, 12:18] = 0.4
    predicted.desk.view.layer("probability").data = probability
    press(predicted, "N")
    assert words(predicted, qtbot).startswith("Doubt 1 of 2: ")
    assert 1 <= z(predicted) < 6
    press(predicted, "N")
    assert words(predicted, qtbot).startswith("Doubt 2 of 2: ")
    assert 8 <= z(predicted) < 11
    press(predicted, "N")
    assert words(predicted, qtbot).startswith("Doubt 1 of 2: ")
    predicted.desk.painter.layer.data_setitem(np.nonzero(probability == 0.5), 1)
    settled(predicted)
    press(predicted, "N")
    assert words(predicted, qtbot).startswith("Doubt 1 of 1: ")
    assert 8 <= z(predicted) < 11
    press(predicted, "Shift+N")
    assert words(predicted, qtbot).startswith("Doubt 1 of 1: ")


def test_tools_and_looks(predicted: BreastSegWidget) -> None:
    layer = predicted.desk.painter.layer
    for key, mode in (("D", "paint"), ("W", "erase"), ("G", "pan_zoom")):
        press(predicted, key)
        assert str(layer.mode) == mode
    assert predicted.correct.shape.grow.isChecked()
    press(predicted, "T")
    assert not layer.visible
    press(predicted, "T")
    assert layer.visible
    press(predicted, "O")
    assert layer.contour == 1
    press(predicted, "O")
    assert layer.contour == 0


def test_from_case_to_case(predicted: BreastSegWidget, tiny_case: Case, settled: Any, notices: list[str]) -> None:
    first = predicted.desk.case_id
    other = predicted.desk.session.add_case(Case("other", tiny_case.images + 1, tiny_case.geometry, tiny_case.times))
    predicted.case.refresh()
    press(predicted, "Alt+Right")
    settled(predicted)
    assert predicted.desk.case_id == other
    press(predicted, "Alt+Right")
    assert "the last case of the session" in notices[-1]
    press(predicted, "Alt+Left")
    settled(predicted)
    assert predicted.desk.case_id == first


def test_real_keys_reach_the_dock_from_the_canvas_and_from_its_own_buttons(window_dock: BreastSegWidget, qtbot: Any) -> None:
    dock, viewer = window_dock, window_dock.desk.viewer
    canvas = viewer.window._qt_viewer.canvas.native
    dock.desk.view.show_slice(0, TRUTH[0].start)
    qtbot.keyClick(canvas, Qt.Key.Key_S)
    words(dock, qtbot)
    assert z(dock) == TRUTH[0].start + 1
    viewer.layers.selection.active = dock.desk.view.layer("case")  # whichever layer is selected
    qtbot.keyClick(dock.correct.undo, Qt.Key.Key_S)
    words(dock, qtbot)
    assert z(dock) == TRUTH[0].start + 2
