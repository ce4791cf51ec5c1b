"""A case is found again as it was left: after a restart, after another case, and whatever its stored view says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_breastseg.case import Case
from napari_breastseg.session import Session
from napari_breastseg.session.opening import LEARNING_INTERRUPTED
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.view.view_state import ViewState, capture

from .conftest import FakeLoop, use

pytestmark = pytest.mark.qt


def arrange(dock: BreastSegWidget) -> None:
    """Look at the case as nobody does by default."""
    viewer, view = dock.desk.viewer, dock.desk.view
    viewer.dims.order = (0, 2, 1, 3)
    viewer.dims.point = (2.0, 6.0, 12.0, 3.0)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 11.0, 7.0), 33.0
    image, probability, tumour = view.layer("case"), view.layer("probability"), view.layer("tumour")
    image.contrast_limits, image.gamma, image.colormap, image.opacity = (90.0, 310.0), 0.7, "bone", 0.9
    view.layer("subtraction").visible = True
    probability.visible, probability.blending = True, "translucent"
    viewer.layers.move(viewer.layers.index(probability), 0)
    tumour.contour = 2
    dock.correct.erase.click()
    dock.correct.brush.setValue(17)
    dock.correct.ball.setChecked(True)
    viewer.layers.selection.active = image


def state_of(dock: BreastSegWidget) -> ViewState:
    return capture(dock.desk.viewer, dock.desk.view, dock.desk.jobs.kind)


def test_a_restart_finds_everything_as_it_was(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    arrange(predicted)
    left = state_of(predicted)
    predicted.shut()
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert state_of(dock) == left
    assert left.tool == "erase" and left.look("tumour").brush_size == 17
    assert [layer.name for layer in dock.desk.viewer.layers][0] == "Probability"
    assert dock.desk.view.layer("probability")._slice.image.raw.max() == np.float32(0.9)
    assert dock.correct.erase.isChecked() and dock.correct.brush.value() == 17 and dock.correct.ball.isChecked()


def test_a_view_is_kept_once_it_has_rested(predicted: BreastSegWidget, qtbot: Any) -> None:
    session, case_id = predicted.desk.session, predicted.desk.case_id
    predicted.desk.viewer.dims.set_point(1, 20.0)
    qtbot.waitUntil(lambda: session.view(case_id).get("point", [0, 0])[1] == 20.0, timeout=60_000)
    assert session.last_case == case_id


def test_each_case_of_a_session_keeps_its_own_view(predicted: BreastSegWidget, tiny_case: Case, settled: Any) -> None:
    desk = predicted.desk
    desk.viewer.dims.set_point(1, 20.0)
    desk.view.layer("case").contrast_limits = (1.0, 99.0)
    first = desk.case_id
    use(predicted, Case("other", tiny_case.images[:, ::-1].copy(), tiny_case.geometry, tiny_case.times), settled)
    assert desk.case_id != first
    assert tuple(desk.view.layer("case").contrast_limits) != (1.0, 99.0)
    desk.viewer.dims.set_point(1, 4.0)
    desk.show_case(first)
    settled(predicted)
    assert desk.viewer.dims.point[1] == 20.0
    assert tuple(desk.view.layer("case").contrast_limits) == (1.0, 99.0)
    assert [layer.name for layer in desk.viewer.layers if layer.visible] == ["tiny", "Tumour"]


def test_the_case_that_was_in_front_comes_back_not_the_newest(
    predicted: BreastSegWidget, tiny_case: Case, settled: Any, open_dock: Any
) -> None:
    first = predicted.desk.case_id
    use(predicted, Case("other", tiny_case.images[:, ::-1].copy(), tiny_case.geometry, tiny_case.times), settled)
    predicted.desk.show_case(first)
    settled(predicted)
    predicted.shut()
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert dock.desk.case_id == first


def test_the_3d_view_comes_back(predicted: BreastSegWidget, open_dock: Any, settled: Any) -> None:
    predicted.desk.viewer.dims.ndisplay = 3
    predicted.desk.viewer.scene.camera.angles = (10.0, 20.0, 30.0)
    left = state_of(predicted)
    predicted.shut()
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert state_of(dock) == left and left.ndisplay == 3


def test_a_prediction_that_was_interrupted_is_told_of_until_something_new_happens(
    predicted: BreastSegWidget, open_dock: Any, settled: Any, loop: FakeLoop, qtbot: Any
) -> None:
    loop.endless = True
    predicted.predict.predict.click()
    qtbot.waitUntil(lambda: predicted.predict.bar.bar.value() == 1, timeout=60_000)
    predicted.shut()
    settled(predicted)
    loop.endless = False
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert "interrupted" in dock.predict.hint.text()
    dock.predict.predict.click()
    settled(dock)
    assert "interrupted" not in dock.predict.hint.text()


HOSTILE = {
    "order": [0, 0, 9],
    "point": ["x", 10**400, float("nan"), 3],
    "ndisplay": 4,
    "center": [0, float("inf"), 0],
    "zoom": -3,
    "angles": "abc",
    "looks": [
        {"role": "case", "opacity": 7, "gamma": 0, "contrast_limits": [5, 5], "colormap": "no such", "blending": "x", "visible": {}},
        {"role": "tumour", "brush_size": 1e9, "n_edit_dimensions": 7, "contour": -1, "opacity": 0.25},
        {"role": "../../etc"},
    ],
    "active": ["tumour"],
    "tool": "transform",
    "running": "rm",
    "other": {"nested": [1] * 99},
}


@pytest.mark.parametrize(
    "stored",
    [
        HOSTILE,
        dict.fromkeys(HOSTILE, None),
        dict.fromkeys(HOSTILE, 10**400),
        dict.fromkeys(HOSTILE, [[[]]]),
        {"looks": [1, "x"], "order": list(range(4)), "point": [1.0] * 99},
        {"looks": [{"role": "case", "contrast_limits": [1e300, -1e300]}] * 5, "zoom": 1e-300},
        {"order": [3, 2, 1, 0], "point": [-1e9, 1e9, 1e9, -1e9], "ndisplay": 2, "zoom": 1e6, "center": [1e9, 1e9, 1e9]},
    ],
)
def test_a_strange_view_does_no_harm(
    stored: dict[str, Any], predicted: BreastSegWidget, open_dock: Any, settled: Any, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted.shut()
    monkeypatch.setattr(Session, "view", lambda *_: stored)
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert notices == []
    assert dock.desk.painter.layer in dock.desk.viewer.layers
    image, tumour = dock.desk.view.layer("case"), dock.desk.painter.layer
    assert image.opacity == 1.0 and image.colormap.name == "gray" and image.contrast_limits[0] < image.contrast_limits[1]
    assert tumour.mode in ("pan_zoom", "paint") and tumour.brush_size <= 80
    if stored is HOSTILE:
        assert tumour.opacity == 0.25  # what fits is used


def test_a_recovery_is_told_of_until_something_new_happens(
    predicted: BreastSegWidget, open_dock: Any, settled: Any, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("This session was not closed properly <img src=x>.", LEARNING_INTERRUPTED)
    opening = Session.open

    def after_a_crash(*arguments: Any) -> Session:
        session = opening(*arguments)
        session.recovered = said
        return session

    predicted.shut()
    monkeypatch.setattr(Session, "open", after_a_crash)
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    assert notices == [said[0].replace("<", "‹").replace(">", "›"), said[1]]  # no message is taken for formatted text
    assert dock.case.recovered.text() == "\n".join(said) and not dock.case.recovered.isHidden()
    assert "Learning was interrupted" in dock.learn.hint.text()
    dock.predict.predict.click()
    settled(dock)
    assert dock.case.recovered.isHidden()
    assert "interrupted" not in dock.learn.hint.text()


def test_nothing_is_kept_of_a_session_that_is_open_elsewhere(predicted: BreastSegWidget, open_dock: Any, settled: Any, qtbot: Any) -> None:
    second = open_dock(ViewerModel())
    second.desk.open_session(Path(predicted.desk.session.path))
    settled(second)
    assert second.desk.read_only
    second.desk.viewer.dims.set_point(1, 22.0)
    qtbot.wait(2500)
    assert predicted.desk.session.view(predicted.desk.case_id).get("point", [0, 0])[1] != 22.0


def test_the_tool_in_the_hand_stays_there_when_the_case_changes(predicted: BreastSegWidget, tiny_case: Case, settled: Any) -> None:
    desk, first = predicted.desk, predicted.desk.case_id
    other = desk.session.add_case(Case("other", tiny_case.images[:, ::-1].copy(), tiny_case.geometry, tiny_case.times))
    predicted.correct.erase.click()
    predicted.correct.brush.setValue(17)
    for case_id, mode, size in ((other, "erase", 17), (first, "paint", 5)):
        if mode == "paint":
            predicted.correct.paint.click()
            predicted.correct.brush.setValue(5)
        desk.show_case(case_id)
        settled(predicted)
        assert (desk.painter.layer.mode, desk.painter.layer.brush_size) == (mode, size)
        assert desk.viewer.layers.selection.active is desk.painter.layer


def test_a_3d_image_of_another_reader_comes_back_where_it_was(open_dock: Any, settled: Any, tiny_case: Case) -> None:
    dock = open_dock()
    dock.desk.viewer.add_image(tiny_case.images[0], scale=tiny_case.geometry.spacing, units=("mm",) * 3)
    dock.case.use.click()
    settled(dock)
    dims = dock.desk.viewer.dims
    assert dims.ndim == 3
    dims.order = (1, 0, 2)
    dims.point = (6.0, 12.0, 3.0)
    dock.shut()
    dock = open_dock(ViewerModel())
    dock.case.latest.click()
    settled(dock)
    dims = dock.desk.viewer.dims
    assert (dims.order, dims.point[1:]) == ((0, 2, 1, 3), (6.0, 12.0, 3.0))


def test_a_view_without_a_single_slice_can_not_be_reviewed(predicted: BreastSegWidget, notices: list[str]) -> None:
    predicted.desk.viewer.dims.order = (1, 2, 0, 3)
    predicted.correct.reviewed.click()
    assert len(notices) == 1 and notices[0].startswith("This view shows no single slice.")


def test_the_wheel_changes_nothing_that_has_no_focus(predicted: BreastSegWidget) -> None:
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    for control in (predicted.correct.brush, predicted.versions.travel.slider, predicted.versions.travel.number, predicted.predict.device):
        before = control.currentIndex() if control is predicted.predict.device else control.value()
        where, down = QPointF(5, 5), QPoint(0, -120)
        event = QWheelEvent(
            where, where, down, down, Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
        )
        QApplication.sendEvent(control, event)
        assert (control.currentIndex() if control is predicted.predict.device else control.value()) == before
        assert control.focusPolicy() == Qt.FocusPolicy.StrongFocus
