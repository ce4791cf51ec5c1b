"""The dock "Breast kinetics": the curve under the mouse, the lesion's, timing, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt

from napari_breastseg.case import Case
from napari_breastseg.kinetics import Timing
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.kinetics.blocks import Blocks
from napari_breastseg.widgets.kinetics.dock import KineticsWidget
from napari_breastseg.widgets.view.layers import tumour_layer

from .conftest import Settled, around, point_at, show

pytestmark = pytest.mark.qt


@pytest.mark.parametrize("index", [(5, 7, 8), (0, 0, 19)])
def test_the_curve_under_the_mouse_is_that_of_its_27_voxels(alone: KineticsWidget, exam: Case, calm: Settled, index: Any) -> None:
    point_at(alone, index)
    calm(alone)
    signals = around(exam.images, *index)
    drawn = alone.curve.plot.drawn["cursor"].curve
    np.testing.assert_allclose(drawn.mean, signals.mean(1))
    np.testing.assert_allclose(drawn.sd, signals.std(1))
    alone.curve.unit.setCurrentText("Percent enhancement")
    s0 = signals.mean(1)[0]
    shown, sd = alone.curve.plot.values(drawn)
    np.testing.assert_allclose(shown, 100 * (signals.mean(1) / s0 - 1), atol=1e-9)
    np.testing.assert_allclose(sd, 100 * signals.std(1) / s0)
    alone.curve.unit.setCurrentText("Signal")
    np.testing.assert_allclose(alone.curve.plot.values(drawn)[0], signals.mean(1))


def test_the_drawn_line_stands_at_seconds_after_the_injection(alone: KineticsWidget, calm: Settled) -> None:
    point_at(alone, (5, 7, 8))
    calm(alone)
    line = alone.curve.plot._traces["cursor"].line
    assert line.getData()[0].tolist() == [-40.0, 90.0, 150.0, 450.0]
    assert [mark.value() for mark in alone.curve.plot._marks] == [150.0, 450.0]


def test_what_is_said_of_the_tumour_is_what_was_put_there(alone: KineticsWidget, calm: Settled) -> None:
    point_at(alone, (6, 7, 8))
    calm(alone)
    for cells in alone.curve.readout.cells.values():
        assert cells["Curve type"].text() == "wash-out" and cells["Initial rise"].text() == "fast"
    lesion = alone.curve.readout.cells["Lesion"]
    assert abs(float(lesion["PE"].text().split()[0]) - 150) < 5
    assert abs(float(lesion["SER"].text()) - 1.5 / 0.8) < 0.1
    assert abs(float(lesion["Wash-in"].text().split()[0]) - 120 / 1.5) < 4
    assert alone.lesion.words.text().startswith(f"<b>{120 * 3.0 / 1000:.2f} mL")  # voxels of 2 x 1.5 x 1 mm
    assert alone.lesion.shares.shares[3] > 90


def test_outside_the_image_and_in_3d_the_last_curve_stays(alone: KineticsWidget, calm: Settled, notices: list[str]) -> None:
    point_at(alone, (5, 7, 8))
    calm(alone)
    before = alone.under_mouse.probe
    for index in ((5, -9, 8), (5, 7, 900)):
        point_at(alone, index)
        calm(alone)
    alone.study.viewer.dims.ndisplay = 3
    point_at(alone, (2, 3, 4))
    calm(alone)
    assert alone.under_mouse.probe is before
    assert notices == []


def test_of_a_hundred_moves_few_are_read_and_the_last_one_is(alone: KineticsWidget, calm: Settled, qtbot: Any) -> None:
    read: list[Any] = []
    alone.under_mouse.moved.connect(lambda: read.append(alone.under_mouse.probe.index))
    for step in range(100):
        point_at(alone, (step % 12, step % 16, step % 20))
        qtbot.wait(2)
    calm(alone)
    assert read[-1] == (99 % 12, 99 % 16, 99 % 20)
    assert 2 <= len(read) <= 20  # at most 30 a second


def test_another_slice_comes_under_a_mouse_that_rests(alone: KineticsWidget, calm: Settled) -> None:
    point_at(alone, (5, 7, 8))
    calm(alone)
    alone.study.viewer.dims.set_point(1, 2 * 2.0)
    calm(alone)
    assert alone.under_mouse.probe.index == (2, 7, 8)


def test_the_phase_that_is_shown_does_not_matter(alone: KineticsWidget, calm: Settled) -> None:
    alone.study.viewer.dims.set_point(0, 3)
    point_at(alone, (5, 7, 8))
    calm(alone)
    assert alone.under_mouse.probe.index == (5, 7, 8)


def test_voxels_that_are_no_numbers_are_said_in_the_dock_not_in_a_notice(
    open_kinetics: Any, exam: Case, calm: Settled, notices: list[str]
) -> None:
    images = exam.images.copy()
    images[2, 3, 3, 3] = np.nan
    dock = open_kinetics(ViewerModel(), replace(exam, images=images))
    calm(dock)
    point_at(dock, (3, 3, 4))
    calm(dock)
    assert "no numbers" in dock.curve.where.text()
    assert notices == []
    point_at(dock, (9, 9, 9))
    calm(dock)
    assert "z 9, y 9, x 9" in dock.curve.where.text()


def test_the_lesions_curve_follows_painting_and_undo(open_dock: Any, open_kinetics: Any, exam: Case, settled: Any, calm: Settled) -> None:
    main: BreastSegWidget = open_dock()
    show(main.desk.viewer, exam)
    main.case.use.click()
    settled(main)
    dock = open_kinetics(main.desk.viewer)
    calm(dock)
    assert dock.lesion_watch.kinetics is None and "No lesion" in dock.lesion.words.text()
    for index in ((5, 6, 7), (6, 8, 9)):
        layer = main.desk.painter.layer
        main.desk.viewer.dims.set_point(1, index[0] * layer.scale[0])
        with layer.block_history():
            layer.paint(index, 1)
    settled(main)
    calm(dock)
    marked = main.desk.painter.layer.data == 1
    np.testing.assert_allclose(dock.curve.plot.drawn["lesion"].curve.mean, exam.images[:, marked].mean(1, dtype=np.float64), rtol=1e-6)
    count = dock.lesion_watch.kinetics.curve.voxels
    main.correct.undo.click()
    settled(main)
    calm(dock)
    fewer = main.desk.painter.layer.data == 1
    assert 0 < fewer.sum() < count == marked.sum()
    assert dock.lesion_watch.kinetics.curve.voxels == fewer.sum()


def test_a_stored_case_is_read_off_the_windows_thread_and_gives_the_same_curve(
    open_dock: Any, open_kinetics: Any, exam: Case, settled: Any, calm: Settled
) -> None:
    main: BreastSegWidget = open_dock()
    show(main.desk.viewer, exam)
    main.case.use.click()
    settled(main)
    dock = open_kinetics(main.desk.viewer)
    calm(dock)
    assert dock.study.layer is main.desk.view.layer("case") and not isinstance(dock.study.case.images, np.ndarray)
    point_at(dock, (5, 7, 8))
    assert dock.under_mouse.probe is None
    calm(dock)
    np.testing.assert_allclose(dock.under_mouse.probe.curve.mean, around(exam.images, 5, 7, 8).mean(1))


def test_blocks_return_what_is_stored_and_read_each_part_once() -> None:
    images = np.random.default_rng(0).normal(size=(2, 9, 10, 11)).astype(np.float32)
    read: list[Any] = []

    class Stored:
        shape, dtype, chunks = images.shape, images.dtype, (1, 4, 4, 4)

        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return images[index]

    blocks = Blocks(Stored())
    for box in (np.s_[3:6, 3:6, 3:6], np.s_[7:9, 8:10, 9:11], np.s_[4:5, 5:7, 3:6]):
        np.testing.assert_array_equal(blocks[(slice(None), *box)], images[(slice(None), *box)])
    assert len(read) == 8 + 2  # the corner where eight meet, and two at the edge; the third box is in the first ones


def test_without_an_examination_the_dock_says_what_to_do(open_kinetics: Any, exam: Case, calm: Settled) -> None:
    dock = open_kinetics(ViewerModel())
    assert "Open a DCE-MRI examination" in dock.hint.text()
    assert dock.curve.isHidden()
    dock.study.viewer.add_image(np.ones((3, 4, 5)))
    calm(dock)
    assert dock.study.case is None
    show(dock.study.viewer, exam)
    calm(dock)
    assert dock.hint.isHidden() and not dock.curve.isHidden()


def test_a_case_of_one_phase_is_refused_in_words(open_kinetics: Any, exam: Case, calm: Settled) -> None:
    dock = open_kinetics(ViewerModel(), replace(exam, images=exam.images[:1], times=()))
    assert "one phase" in dock.hint.text() and dock.curve.isHidden()
    point_at(dock, (5, 7, 8))
    calm(dock)
    assert dock.under_mouse.probe is None


def test_without_times_the_curve_is_drawn_and_slopes_are_not_claimed(open_kinetics: Any, exam: Case, calm: Settled) -> None:
    dock = open_kinetics(ViewerModel(), replace(exam, times=()))
    point_at(dock, (6, 7, 8))
    calm(dock)
    cells = dock.curve.readout.cells["Cursor"]
    assert cells["Curve type"].text() == "wash-out" and cells["Wash-in"].text() == cells["Wash-out"].text() == "–"
    assert "no times" in dock.settings.note.text() and not dock.settings.injection.isEnabled()


def test_two_phases_show_pe_and_no_type(open_kinetics: Any, exam: Case, truth: Any, calm: Settled) -> None:
    dock = open_kinetics(ViewerModel(), replace(exam, images=exam.images[:2], times=exam.times[:2]))
    dock.study.viewer.add_layer(tumour_layer(truth, exam.geometry, {}))
    point_at(dock, (6, 7, 8))
    calm(dock)
    cells = dock.curve.readout.cells["Lesion"]
    assert cells["Curve type"].text() == cells["SER"].text() == "–" and cells["PE"].text().startswith("+1")
    assert dock.lesion.shares.isHidden() and not dock.lesion.measure.isEnabled()


def test_another_injection_counts_the_times_anew(alone: KineticsWidget, calm: Settled, notices: list[str]) -> None:
    point_at(alone, (6, 7, 8))
    calm(alone)
    alone.settings.injection.setValue(30.0)
    calm(alone)
    assert alone.study.timing == Timing((-70.0, 60.0, 120.0, 420.0))
    assert alone.curve.plot._traces["lesion"].line.getData()[0][0] == -70.0
    assert abs(float(alone.curve.readout.cells["Lesion"]["Wash-in"].text().split()[0]) - 120) < 5  # in one minute now
    alone.settings.injection.setValue(900.0)
    assert len(notices) == 1 and "No phase lies after" in notices[0]
    assert alone.study.timing.seconds[0] == -70.0 and alone.settings.injection.value() == 30.0
    alone.settings.automatic.click()
    assert alone.study.timing.seconds == (-40.0, 90.0, 150.0, 450.0)


def test_other_thresholds_give_other_types(alone: KineticsWidget, calm: Settled) -> None:
    before = alone.lesion_watch.kinetics.curve.mean
    change = 100 * (before[3] / before[1] - 1)
    assert -25 < change < -10
    alone.settings.change.setValue(30)
    calm(alone)
    assert alone.curve.readout.cells["Lesion"]["Curve type"].text() == "plateau"
    alone.settings.uptake.setValue(300)
    calm(alone)
    assert alone.curve.readout.cells["Lesion"]["Curve type"].text() == "no uptake"


def test_go_there_shows_the_worst_place(alone: KineticsWidget, calm: Settled) -> None:
    worst = alone.lesion_watch.kinetics.worst.place
    for _ in range(3):
        alone.lesion.go.click()
    point = alone.study.viewer.dims.point[-3:]
    np.testing.assert_allclose(point, np.multiply(worst, (2.0, 1.5, 1.0)))


def test_the_curve_of_one_examination_is_not_left_for_the_next(alone: KineticsWidget, exam: Case, calm: Settled) -> None:
    point_at(alone, (6, 7, 8))
    calm(alone)
    alone.pins.keep.click()
    viewer = alone.study.viewer
    other = replace(exam, name="other", images=exam.images[:, ::-1] + 1)
    show(viewer, other)
    viewer.layers.selection.active = viewer.layers["other"]
    calm(alone)
    assert alone.study.case is other
    assert alone.under_mouse.probe is None and alone.pins.pins == []
    assert "Pinned curves" not in viewer.layers


def test_the_same_examination_taken_into_a_session_keeps_its_pins(
    open_dock: Any, open_kinetics: Any, exam: Case, settled: Any, calm: Settled
) -> None:
    main: BreastSegWidget = open_dock()
    dock = open_kinetics(main.desk.viewer, exam)
    calm(dock)
    point_at(dock, (6, 7, 8))
    calm(dock)
    dock.pins.keep.click()
    main.case.use.click()
    settled(main)
    calm(dock)
    assert len(dock.pins.pins) == 1
    assert dock.study.case is main.desk.view.case


def test_closing_takes_everything_back(alone: KineticsWidget, calm: Settled) -> None:
    viewer = alone.study.viewer
    names = [layer.name for layer in viewer.layers]
    point_at(alone, (6, 7, 8))
    calm(alone)
    alone.pins.keep.click()
    alone.overlays.choice.setCurrentText("Curve type")
    calm(alone)
    assert len(viewer.layers) == len(names) + 2
    tumour: Labels = viewer.layers["Tumour"]
    alone.shut()
    alone.shut()
    assert [layer.name for layer in viewer.layers] == names
    assert viewer.mouse_move_callbacks == [] and viewer.keymap == {}
    assert tumour.contour == 0
    tumour.paint((3, 3, 3), 1)
    viewer.add_image(np.ones((3, 4, 5)))
    assert not alone.lesion_watch.busy and not alone.study._soon.isActive()


def test_every_control_has_a_tooltip(alone: KineticsWidget) -> None:
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget

    for kind in (QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget):
        own = [control for control in alone.findChildren(kind) if "napari_breastseg" in type(control).__module__ or control.isEnabled()]
        own = [control for control in own if not control.objectName().startswith("qt_") and not control.parent().toolTip()]
        assert [control for control in own if not control.toolTip()] == []


def test_in_a_real_window_the_mouse_draws_the_key_pins_and_closing_unbinds(
    make_napari_viewer: Any, exam: Case, truth: Any, calm: Settled, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    show(viewer, exam)
    viewer.add_layer(tumour_layer(truth, exam.geometry, {}))
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast kinetics")
    assert isinstance(dock, KineticsWidget)
    calm(dock)
    dock.study.go_to((6, 7, 8))
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    before = list(viewer.mouse_move_callbacks)
    for step in range(3):
        qtbot.mouseMove(canvas, middle + QPoint(step, 0))
        qtbot.wait(20)
    qtbot.waitUntil(lambda: dock.under_mouse.probe is not None, timeout=30_000)
    calm(dock)
    z, y, x = dock.under_mouse.probe.index
    assert z == 6 and abs(y - 7) <= 1 and abs(x - 8) <= 1
    np.testing.assert_allclose(dock.under_mouse.probe.curve.mean, around(exam.images, z, y, x).mean(1))
    qtbot.keyClick(canvas, Qt.Key.Key_K)
    qtbot.keyClick(canvas, Qt.Key.Key_K)  # the same place: once
    assert len(dock.pins.pins) == 1
    viewer.window.remove_dock_widget(dock)
    assert len(viewer.mouse_move_callbacks) == len(before) - 1
    assert "Pinned curves" not in viewer.layers
    qtbot.keyClick(canvas, Qt.Key.Key_K)
