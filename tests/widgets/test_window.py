"""What needs a real window: menus, keys, the mouse, and closing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_breastseg.case import Case
from napari_breastseg.session import Session
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import FakeLoop, paint, use

pytestmark = pytest.mark.qt
MENUS = {"napari/layers/segment": "napari-breastseg.dock", "napari/file/io_utilities": "napari-breastseg.open_examination"}


def test_mouse_strokes_and_keys_reach_the_journal(window_dock: BreastSegWidget, settled: Any, qtbot: Any) -> None:
    dock, viewer = window_dock, window_dock.desk.viewer
    before = dock.desk.painter.layer.data.copy()
    dock.correct.paint.click()
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(1, 6):
        qtbot.mouseMove(canvas, middle + QPoint(12 * step, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(60, 0))
    settled(dock)
    session, case_id = dock.desk.session, dock.desk.case_id
    assert [row.tool for row in session.edits(case_id)] == ["brush"]
    after = dock.desk.painter.layer.data.copy()
    assert not np.array_equal(after, before)
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.seq(case_id) == 2, timeout=60_000)
    settled(dock)
    assert np.array_equal(dock.desk.painter.layer.data, before)
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: session.seq(case_id) == 3, timeout=60_000)
    settled(dock)
    assert np.array_equal(dock.desk.painter.layer.data, after)


def test_closing_the_dock_unbinds_saves_and_closes_the_session(window_dock: BreastSegWidget) -> None:
    viewer, path, case_id = window_dock.desk.viewer, window_dock.desk.session.path, window_dock.desk.case_id
    layer = window_dock.desk.painter.layer
    assert len(layer.keymap) == 2
    paint(window_dock, (9, 3, 3))
    viewer.window.remove_dock_widget(window_dock)
    assert layer.keymap == {}
    assert not layer.editable
    with Session.open(path) as session:
        assert session.seq(case_id) == 1
        assert "recovered" not in [event.kind for event in session.events()]


def test_closing_the_window_during_a_job_ends_it_and_closes_the_session(
    make_napari_viewer: Any, loop: FakeLoop, sessions: Any, tiny_case: Case, settled: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    use(dock, tiny_case, settled)
    loop.endless = True
    path = dock.desk.session.path
    dock.predict.predict.click()
    qtbot.waitUntil(lambda: dock.predict.bar.bar.value() == 1, timeout=60_000)
    viewer.close()
    qtbot.waitUntil(lambda: loop.closed == ["predict"], timeout=60_000)
    qtbot.wait(100)
    with Session.open(path) as session:
        assert not session.read_only


def test_previews_do_not_come_after_the_result(window_dock: BreastSegWidget, settled: Any) -> None:
    window_dock.predict.predict.click()
    settled(window_dock)
    assert [layer.name for layer in window_dock.desk.viewer.layers if layer.visible] == ["tiny", "Tumour"]


def test_the_menus_lead_to_the_dock_and_to_a_folder(
    make_napari_viewer: Any, loop: FakeLoop, sessions: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    import nibabel
    from napari._app_model import get_app_model

    nibabel.save(nibabel.Nifti1Image(np.ones((6, 7, 8), np.float32) * np.arange(8), np.eye(4)), tmp_path / "one_0000.nii.gz")
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path))
    viewer = make_napari_viewer()
    app = get_app_model()
    for menu, command in MENUS.items():
        assert command in [item.command.id for item in app.menus.get_menu(menu) if hasattr(item, "command")]
    app.commands.execute_command("napari-breastseg.open_examination").result()
    assert [layer.metadata["breastseg_case"].shape for layer in viewer.layers] == [(8, 7, 6)]
    app.commands.execute_command("napari-breastseg.dock").result()
    assert len(viewer.window.dock_widgets) == 1


def test_a_layer_goes_while_the_canvas_is_current(window_dock: BreastSegWidget, qtbot: Any) -> None:
    """Without it this ends in a segmentation fault of Mesa: two images, the lower one removed, the window resized."""
    from qtpy.QtGui import QOpenGLContext
    from qtpy.QtWidgets import QOpenGLWidget

    viewer = window_dock.desk.viewer
    qtbot.waitUntil(lambda: window_dock._window is not None)
    window = window_dock._window
    assert window is not None
    (canvas,) = window.centralWidget().findChildren(QOpenGLWidget)
    first = viewer.add_image(np.zeros((40, 50), np.uint8))
    qtbot.wait(300)
    viewer.add_image(np.zeros((40, 50), np.uint8))
    qtbot.wait(300)
    canvas.doneCurrent()
    current: list[bool] = []

    def note() -> None:
        current.append(QOpenGLContext.currentContext() == canvas.context())

    viewer.layers.events.removing.connect(note, position="last")
    viewer.layers.remove(first)
    assert current == [True]
    qtbot.wait(300)
    window.resize(window.width() - 60, window.height() - 40)
    qtbot.wait(300)
    window_dock.shut()
    canvas.doneCurrent()
    viewer.layers.pop()
    assert current == [True, True], "the layers stay when the dock is closed, and may be removed"
