"""Pins, overlays, the functional tumour volume and the export of the dock "Breast kinetics"."""

from __future__ import annotations

import csv
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.layers import Labels
from qtpy.QtGui import QColor, QImage
from scipy import ndimage

from napari_breastseg.case import Case
from napari_breastseg.errors import ComputeError
from napari_breastseg.preprocess import breast_region
from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets.kinetics import overlays
from napari_breastseg.widgets.kinetics.dock import KineticsWidget
from napari_breastseg.widgets.view.explain_layers import row_colour
from napari_breastseg.widgets.view.layers import TUMOUR_COLOUR

from .conftest import Settled, point_at, show

pytestmark = pytest.mark.qt
PLACES = [(6, 7, 8), (2, 3, 4), (9, 12, 15)]


@pytest.fixture
def pinned(alone: KineticsWidget, calm: Settled) -> KineticsWidget:
    for place in PLACES:
        point_at(alone, place)
        calm(alone)
        alone.pins.keep.click()
    return alone


def colour(dock: KineticsWidget, by: str, calm: Settled) -> Any:
    """Colour the image, and return the layer that is there then."""
    dock.overlays.choice.setCurrentText(by)
    calm(dock)
    return dock.study.viewer.layers[by] if by in dock.study.viewer.layers else None


def enhancement(case: Case) -> npt.NDArray[np.float64]:
    """PE of each phase of `exam`, whose first phase alone lies before the injection."""
    images = case.images.astype(np.float64)
    return 100 * (images / images[0] - 1)


def test_pins_are_points_of_their_colours_at_their_places(pinned: KineticsWidget) -> None:
    layer = pinned.study.viewer.layers["Pinned curves"]
    np.testing.assert_array_equal(layer.data, PLACES)
    assert tuple(layer.scale) == (2.0, 1.5, 1.0) and [str(unit) for unit in layer.units] == ["millimeter"] * 3
    expected = [row_colour(number) for number in (1, 2, 3)]
    assert ["#" + bytes(np.rint(255 * face[:3]).astype(np.uint8)).hex().upper() for face in layer.face_color] == expected
    assert [pinned.curve.plot.drawn[f"pin{i}"].colour for i in range(3)] == expected
    assert pinned.pins.list.count() == 3 and "wash-out" in pinned.pins.list.item(0).text()
    assert pinned.study.viewer.layers[-1] is layer and not layer.editable


def test_a_click_on_a_pin_goes_there(pinned: KineticsWidget) -> None:
    pinned.pins.list.itemClicked.emit(pinned.pins.list.item(1))
    np.testing.assert_allclose(pinned.study.viewer.dims.point[-3:], (2 * 2.0, 3 * 1.5, 4 * 1.0))


def test_a_removed_pin_leaves_the_others_their_colours(pinned: KineticsWidget) -> None:
    pinned.pins.list.setCurrentRow(1)
    pinned.pins.remove.click()
    layer = pinned.study.viewer.layers["Pinned curves"]
    np.testing.assert_array_equal(layer.data, [PLACES[0], PLACES[2]])
    assert [pin.number for pin in pinned.pins.pins] == [1, 3] and layer.features["pin"].tolist() == [1, 3]
    assert "pin2" not in pinned.curve.plot.drawn
    for _ in range(3):
        pinned.pins.clear.click()
    assert "Pinned curves" not in pinned.study.viewer.layers and pinned.pins.list.count() == 0
    assert not pinned.pins.remove.isEnabled() and not pinned.pins.clear.isEnabled()


def test_a_pin_without_a_curve_is_told_in_words(alone: KineticsWidget, notices: list[str]) -> None:
    alone.pins.keep.click()
    assert len(notices) == 1 and "Move the mouse over the image" in notices[0]


def test_curve_types_are_those_of_their_definition_where_it_enhances(alone: KineticsWidget, exam: Case, calm: Settled) -> None:
    layer = colour(alone, "Curve type", calm)
    pe = enhancement(exam)
    change = 100 * (exam.images[3] / exam.images[1].astype(np.float64) - 1)
    types = np.select([change > 10, change < -10], [1, 3], 2)
    types[np.maximum(pe[1], pe[3]) < 20] = 0
    expected = np.where(pe[2] >= 50, types, 0)
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    assert set(np.unique(expected)) == {0, 3}
    alone.overlays.show_from.setValue(0)
    shown = np.asarray(layer.data)
    np.testing.assert_array_equal(shown, np.where(pe[2] >= 0, types, 0))
    assert "wash-out" in alone.overlays.legend.words.text()


def test_overlays_lie_below_the_tumour_in_mm_and_cannot_be_edited(alone: KineticsWidget, calm: Settled) -> None:
    viewer = alone.study.viewer
    viewer.layers.selection.active = viewer.layers["Tumour"]
    for name in ("Percent enhancement", "Signal enhancement ratio", "Wash-in", "Wash-out", "Curve type"):
        layer = colour(alone, name, calm)
        assert viewer.layers.index(layer) == viewer.layers.index(viewer.layers["Tumour"]) - 1
        assert [one.name for one in viewer.layers if one.visible] == ["exam", name, "Tumour"]
        assert tuple(layer.scale) == (2.0, 1.5, 1.0) and [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert not layer.editable
    assert viewer.layers.selection.active is viewer.layers["Tumour"]
    assert viewer.layers["Tumour"].contour == 1
    colour(alone, "Nothing", calm)
    assert [one.name for one in viewer.layers if one.visible] == ["exam", "Tumour"]
    assert viewer.layers["Tumour"].contour == 0 and alone.overlays.maps is None


def test_pe_is_shown_from_the_threshold_that_the_slider_says(
    alone: KineticsWidget, exam: Case, calm: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = colour(alone, "Percent enhancement", calm)
    monkeypatch.setattr(overlays, "mapping", None)  # nothing is computed again
    pe = enhancement(exam)[2]
    for threshold in (50, 100, 145):
        alone.overlays.show_from.setValue(threshold)
        shown = np.asarray(layer.data)
        away = np.abs(pe - threshold) > 0.2  # float16
        np.testing.assert_array_equal(np.isfinite(shown)[away], (pe >= threshold)[away])
        np.testing.assert_allclose(shown[np.isfinite(shown)], pe[np.isfinite(shown)], rtol=1e-3)


def test_ser_has_the_colours_of_its_bins(alone: KineticsWidget, calm: Settled) -> None:
    layer = colour(alone, "Signal enhancement ratio", calm)
    low, high = layer.contrast_limits
    colours = layer.colormap.map((np.array([0.5, 0.95, 1.2, 1.5, 2.5]) - low) / (high - low))
    np.testing.assert_allclose(colours[:, :3], [(0, 0, 1), (0.502, 0, 0.502), (0, 1, 0), (1, 0, 0), (1, 1, 0)], atol=0.01)
    shown = np.asarray(layer.data)
    assert np.nanmax(shown) <= 3 and np.nanmin(shown) > 0


def test_two_phases_have_no_ser_and_that_is_said(open_kinetics: Any, exam: Case, calm: Settled, notices: list[str]) -> None:
    from napari.components import ViewerModel

    dock = open_kinetics(ViewerModel(), replace(exam, images=exam.images[:2], times=exam.times[:2]))
    assert colour(dock, "Signal enhancement ratio", calm) is None
    assert dock.overlays.wanted is None and "needs two phases" in notices[0]
    assert colour(dock, "Percent enhancement", calm) is not None


def test_other_thresholds_colour_anew(alone: KineticsWidget, calm: Settled) -> None:
    layer = colour(alone, "Curve type", calm)
    assert 3 in np.asarray(layer.data)
    alone.settings.change.setValue(90)
    calm(alone)
    assert alone.study.viewer.layers["Curve type"] is layer
    assert set(np.unique(np.asarray(layer.data))) == {0, 2}


def test_the_clusters_curves_are_the_means_of_their_voxels(
    alone: KineticsWidget, exam: Case, calm: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breast_region, "breast_mask", lambda seen: np.ones(seen.case.shape, bool))
    layer = colour(alone, "Curve clusters", calm)
    assert isinstance(layer, Labels) and not layer.editable
    labels = np.asarray(layer.data)
    assert labels[5, 7, 8] > 0
    for number, curve in enumerate(alone.overlays.clusters.curves, 1):
        chosen = exam.images[:, labels == number].astype(np.float64)
        assert curve.voxels == chosen.shape[1]
        if curve.voxels:
            np.testing.assert_allclose(curve.mean, (100 * chosen / chosen[0]).mean(1), rtol=1e-4)
    shown = [name for name in alone.curve.plot.drawn if name.startswith("cluster")]
    assert len(shown) == sum(curve.voxels > 0 for curve in alone.overlays.clusters.curves)
    alone.overlays.with_curves.setChecked(False)
    assert not [name for name in alone.curve.plot.drawn if name.startswith("cluster")]


class Slow:
    """Maps that take until they are cancelled or let go."""

    def __init__(self) -> None:
        self.go = False
        self.error: Exception | None = None
        self.closed = 0
        self.real = overlays.mapping

    def __call__(self, *how: Any) -> Job[Any]:
        try:
            while not self.go:
                time.sleep(0.01)
                yield Progress(1, 2, "Waiting")
        finally:
            self.closed += 1
        if self.error is not None:
            raise self.error
        return (yield from self.real(*how))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(overlays, "mapping", made)
    return made


def test_cancel_leaves_the_image_as_it_was(alone: KineticsWidget, slow: Slow, calm: Settled, qtbot: Any) -> None:
    names = [layer.name for layer in alone.study.viewer.layers]
    alone.overlays.choice.setCurrentText("Wash-in")
    qtbot.waitUntil(lambda: alone.overlays.bar.bar.value() == 1, timeout=30_000)
    for _ in range(3):
        alone.overlays.bar.cancel.click()
    calm(alone)
    assert slow.closed == 1 and alone.overlays.wanted is None
    assert [layer.name for layer in alone.study.viewer.layers] == names


def test_an_error_becomes_one_sentence(alone: KineticsWidget, slow: Slow, calm: Settled, notices: list[str]) -> None:
    slow.go, slow.error = True, ComputeError("The memory is full. Close something.")
    assert colour(alone, "Wash-in", calm) is None
    assert notices == ["The memory is full. Close something."] and alone.overlays.wanted is None


def test_maps_of_an_examination_that_was_left_are_dropped(alone: KineticsWidget, slow: Slow, exam: Case, calm: Settled, qtbot: Any) -> None:
    viewer = alone.study.viewer
    alone.overlays.choice.setCurrentText("Wash-in")
    qtbot.waitUntil(lambda: alone.overlays.bar.bar.value() == 1, timeout=30_000)
    slow.go = True  # it may end as it is cancelled
    show(viewer, replace(exam, name="other", images=exam.images[:, ::-1].copy()))
    viewer.layers.selection.active = viewer.layers["other"]
    calm(alone)
    assert alone.study.case.name == "other" and "Wash-in" not in viewer.layers and alone.overlays.maps is None


def test_what_is_chosen_while_something_runs_is_shown_in_the_end(alone: KineticsWidget, slow: Slow, calm: Settled, qtbot: Any) -> None:
    alone.overlays.choice.setCurrentText("Wash-in")
    qtbot.waitUntil(lambda: alone.overlays.bar.bar.value() == 1, timeout=30_000)
    slow.go = True
    alone.settings.uptake.setValue(30)
    layer = colour(alone, "Wash-out", calm)
    assert layer.visible and "Wash-in" not in alone.study.viewer.layers


def test_a_layer_that_the_person_removes_is_no_longer_chosen(alone: KineticsWidget, calm: Settled) -> None:
    alone.study.viewer.layers.remove(colour(alone, "Wash-in", calm))
    calm(alone)
    assert alone.overlays.wanted is None and alone.overlays.legend.isHidden()


def reference_ftv(case: Case, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """UCSF's definition, written out: S0, PE at 150 s, neighbours, SER."""
    images = case.images.astype(np.float64)
    s0, early, late = images[0], images[2], images[3]
    bright = s0 >= 0.6 * np.percentile(s0[region], 95)
    passing = bright & (100 * (early - s0) / s0 >= 70)
    neighbours = ndimage.convolve(passing.astype(int), np.ones((3, 3, 3), int), mode="constant") - passing
    return region & passing & (neighbours >= 4) & ((early - s0) / (late - s0) >= 0)


def test_ftv_in_the_tumours_box_and_in_a_region_without_what_is_omitted(alone: KineticsWidget, exam: Case, calm: Settled) -> None:
    alone.lesion.measure.click()
    calm(alone)
    box = np.zeros(exam.shape, bool)
    box[:, :, :] = True  # 10 mm around the tumour is the whole of y and x here
    box[13:], box[:, 17:] = False, False
    box[:, :, 11 + 1 + 10 :] = False
    expected = reference_ftv(exam, box)
    assert alone.lesion.ftv.ml == pytest.approx(expected.sum() * 3.0 / 1000)
    text = alone.lesion.result.text()
    assert "FTV 0.36 mL" in text and "150 s and 450 s after the injection" in text and alone.lesion.result.toolTip() in text
    viewer, region, skin = alone.study.viewer, np.zeros(exam.shape, np.uint8), np.zeros((4, *exam.shape), np.uint8)
    region[4:8, 4:12, 4:9] = 5
    skin[2, 5] = 1
    viewer.add_labels(region, name="region", scale=(2.0, 1.5, 1.0))
    viewer.add_labels(skin, name="skin", scale=(1.0, 2.0, 1.5, 1.0))  # as napari makes new labels: with the phases
    viewer.add_labels(np.zeros((3, 3, 3), np.uint8), name="elsewhere")
    calm(alone)
    assert [alone.lesion.region.itemText(i) for i in range(1, alone.lesion.region.count())] == ["skin", "region", "Tumour"]
    alone.lesion.region.setCurrentText("region")
    alone.lesion.omit.setCurrentText("skin")
    alone.lesion.measure.click()
    calm(alone)
    expected = reference_ftv(exam, (region > 0) & (skin.max(0) == 0))
    assert 0 < alone.lesion.ftv.ml == pytest.approx(expected.sum() * 3.0 / 1000)
    assert alone.lesion.measured_in == "region, without skin"


def test_an_ftv_away_from_its_times_is_called_so(open_kinetics: Any, exam: Case, truth: Any, calm: Settled) -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    dock = open_kinetics(viewer, replace(exam, times=(-40.0, 60.0, 100.0, 200.0)))
    viewer.add_labels(truth, name="Tumour", scale=(2.0, 1.5, 1.0))
    calm(dock)
    dock.lesion.measure.click()
    calm(dock)
    assert "FTV-like" in dock.lesion.result.text() and "not 150 s and 450 s" in dock.lesion.result.text()


def test_an_ftv_of_another_tumour_is_not_kept(alone: KineticsWidget, calm: Settled) -> None:
    alone.lesion.measure.click()
    calm(alone)
    alone.study.viewer.layers["Tumour"].paint((2, 2, 2), 1)
    calm(alone)
    assert alone.lesion.ftv is None and "changed since" in alone.lesion.result.text()


def test_an_empty_region_is_told_in_words(alone: KineticsWidget, exam: Case, calm: Settled, notices: list[str]) -> None:
    alone.study.viewer.add_labels(np.zeros(exam.shape, np.uint8), name="region", scale=(2.0, 1.5, 1.0))
    calm(alone)
    alone.lesion.region.setCurrentText("region")
    alone.lesion.measure.click()
    calm(alone)
    assert len(notices) == 1 and "empty" in notices[0] and alone.lesion.ftv is None


def test_the_background_is_that_of_the_gland_that_was_labelled(alone: KineticsWidget, exam: Case, calm: Settled) -> None:
    panel, viewer = alone.background, alone.study.viewer
    assert not panel.measure.isEnabled()
    gland = np.zeros(exam.shape, np.uint8)
    gland[:, -3:] = 7
    tumour = np.asarray(viewer.layers["Tumour"].data) == 1
    viewer.add_labels(gland, name="gland", scale=(2.0, 1.5, 1.0))
    calm(alone)
    panel.gland.setCurrentText("gland")
    panel.measure.click()
    calm(alone)
    away = (gland > 0) & (ndimage.distance_transform_edt(~tumour, (2.0, 1.5, 1.0)) > 5)
    before, after = (exam.images[phase][away].astype(np.float64).mean() for phase in (0, 2))
    assert panel.percent == pytest.approx(100 * (after / before - 1), rel=1e-5)
    assert f"BPE {panel.percent:+.0f} %" in panel.result.text()
    viewer.layers["Tumour"].paint((2, 2, 2), 1)
    calm(alone)
    assert panel.percent is None and not panel.result.isVisibleTo(alone)


def test_the_export_holds_curves_figures_and_the_plot(
    pinned: KineticsWidget, exam: Case, tmp_path: Path, calm: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path))
    pinned.lesion.measure.click()
    calm(pinned)
    for _ in range(2):
        pinned.export.click()
    folder, second = tmp_path / "exam kinetics", tmp_path / "exam kinetics 2"
    assert sorted(path.name for path in folder.iterdir()) == ["curves.csv", "kinetics.json", "plot.png"]
    assert second.is_dir() and str(second) in pinned.exported.text()
    with (folder / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["curve"] for row in rows[::4]] == ["cursor", "pin 1", "pin 2", "pin 3", "lesion"]
    lesion = rows[-4:]
    signals = exam.images[:, 4:8, 5:10, 6:12].reshape(4, -1).astype(np.float64)
    assert [float(row["seconds_after_injection"]) for row in lesion] == [-40, 90, 150, 450]
    np.testing.assert_allclose([float(row["signal_mean"]) for row in lesion], signals.mean(1), rtol=1e-5)
    np.testing.assert_allclose([float(row["signal_sd"]) for row in lesion], signals.std(1), rtol=1e-5)
    pe = 100 * (signals.mean(1) / signals.mean(1)[0] - 1)
    np.testing.assert_allclose([float(row["percent_enhancement"]) for row in lesion], pe, rtol=1e-4, atol=1e-9)
    facts = json.loads((folder / "kinetics.json").read_text())
    assert facts["timing"]["seconds_after_injection"] == [-40, 90, 150, 450] and facts["timing"]["slopes_hold"]
    assert facts["thresholds_percent"] == {"uptake": 20, "change": 10, "medium": 50, "fast": 100}
    assert facts["lesion"]["shares_percent"]["wash-out"] > 90 and facts["curves"]["lesion"]["type"] == "wash-out"
    assert facts["curves"]["pin 2"]["place_zyx"] == list(PLACES[1])
    assert facts["functional_tumour_volume"]["name"] == "FTV" and facts["functional_tumour_volume"]["ml"] == pinned.lesion.ftv.ml
    picture = QImage(str(folder / "plot.png"))
    assert not picture.isNull() and picture.width() >= 1000
    assert shows(picture, TUMOUR_COLOUR)


def shows(picture: QImage, colour: str) -> bool:
    """Tell whether a line of a colour reaches into the right third of a plot, above its legend."""
    width, height, wanted = picture.width(), picture.height() - 40, QColor(colour).rgb()
    return any(picture.pixel(x, y) == wanted for x in range(2 * width // 3, width) for y in range(height))


def test_an_export_that_cannot_be_written_is_told_in_words(
    alone: KineticsWidget, tmp_path: Path, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path / "missing"))
    alone.export.click()
    assert len(notices) == 1 and "could not be made" in notices[0] and alone.exported.text() == ""
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: "")
    alone.export.click()
    assert len(notices) == 1 and list(tmp_path.iterdir()) == []


def test_closing_the_dock_while_a_job_runs_ends_it_quietly(
    make_napari_viewer: Any, exam: Case, slow: Slow, qtbot: Any, notices: list[str]
) -> None:
    viewer = make_napari_viewer()
    show(viewer, exam)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast kinetics")
    qtbot.wait(50)
    dock.overlays.choice.setCurrentText("Wash-in")
    qtbot.waitUntil(lambda: dock.overlays.bar.bar.value() == 1, timeout=30_000)
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    qtbot.waitUntil(lambda: slow.closed == 1, timeout=30_000)
    qtbot.wait(200)
    assert notices == [] and "Wash-in" not in viewer.layers
