"""Ultrasound images and mammograms in the dock: one file, folders of many, the method that suits, contours, and no talk of volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from napari_breastseg.case import Case, Modality
from napari_breastseg.inference.grids import suits
from napari_breastseg.io import read_case
from napari_breastseg.methods import get_preset, usual_method
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.sections.predict import METHODS
from napari_breastseg.widgets.view.view_state import ViewState, capture

from .conftest import FakeLoop, use


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "breast.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)).save(path)
    return path


def test_the_first_method_that_suits_is_the_usual_one() -> None:
    for modality in get_args(Modality):
        suiting = [method for method, (_, _, kinds) in METHODS.items() if modality in kinds]
        assert suiting[0] == usual_method(modality)
        assert suiting == [method for method in METHODS if suits(modality, get_preset(method).modality)]


@pytest.mark.parametrize(("modality", "chosen", "possible"), [
    ("image", "HA-Net", ["HA-Net", "BReMS-Net"]),
    ("ultrasound", "HA-Net", ["HA-Net"]),
    ("mammography", "BReMS-Net", ["BReMS-Net"]),
])  # fmt: skip
def test_what_suits_an_image_is_offered(
    open_dock: Any, settled: Any, loop: FakeLoop, picture: Path, modality: Modality, chosen: str, possible: list[str]
) -> None:
    dock: BreastSegWidget = open_dock()
    use(dock, replace(read_case(picture), modality=modality), settled)
    combo = dock.predict.method
    items = [combo.model().index(place, 0) for place in range(combo.count())]  # type: ignore[union-attr]
    from qtpy.QtCore import Qt

    assert [item.data() for item in items if item.flags() & Qt.ItemFlag.ItemIsEnabled] == possible
    assert combo.currentText() == chosen
    dock.predict.predict.click()
    settled(dock)
    assert loop.methods == [combo.currentData()]


def test_a_volume_and_an_image_in_turn_each_get_a_method_that_suits(dock_with_case: BreastSegWidget, settled: Any, picture: Path) -> None:
    dock = dock_with_case
    volume = dock.desk.case_id
    assert dock.predict.method.currentText() == "HCMA-UNet"
    assert not dock.correct.ball.isHidden() and not dock.correct.reviewed.isHidden()
    dock.case._read(str(picture))
    settled(dock)
    assert dock.predict.method.currentText() == "HA-Net"
    assert dock.correct.ball.isHidden() and dock.correct.reviewed.isHidden()  # an image is one slice
    assert dock.correct.brush.suffix() == " pixels"
    assert dock.case.hint.text() == "<b>breast</b>: 40 × 50 pixels, scale unknown"
    assert volume is not None
    dock.desk.show_case(volume)
    settled(dock)
    assert dock.predict.method.currentText() == "HCMA-UNet"
    assert dock.correct.brush.suffix() == " voxels"


def test_a_scale_beside_the_image_is_said(open_dock: Any, settled: Any, picture: Path) -> None:
    picture.with_suffix(".json").write_text('{"PixelSpacing": [0.08, 0.1], "Modality": "US"}')
    dock: BreastSegWidget = open_dock()
    dock.case._read(str(picture))
    settled(dock)
    assert dock.case.hint.text() == "<b>breast</b>: 40 × 50 pixels of 0.08 × 0.1 mm"
    assert dock.desk.session is not None and dock.desk.case_id is not None
    case = dock.desk.session.case(dock.desk.case_id)
    assert (case.modality, case.geometry.unit, case.geometry.spacing) == ("ultrasound", "mm", (1.0, 0.08, 0.1))


def test_a_folder_of_images_becomes_a_session_of_cases(open_dock: Any, settled: Any, picture: Path, notices: list[str]) -> None:
    """What cannot be read is left out, and it is said why."""
    folder = picture.parent / "many"
    folder.mkdir()
    for name in ("a", "b", "c", "d", "e", "f"):
        image = np.random.default_rng(ord(name)).integers(0, 256, (30, 20), np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
    for name in ("b", "d", "e", "f"):
        (folder / f"{name}.png").write_bytes(b"no image")
    dock: BreastSegWidget = open_dock()
    dock.case._read(str(folder))
    settled(dock)
    session = dock.desk.session
    assert session is not None
    assert [session.case(case_id).name for case_id in session.cases] == ["a", "c"]
    assert dock.desk.case_id == session.cases[0] and dock.case.cases.count() == 2
    assert [notice.partition(" was left out: ")[0] for notice in notices] == ["b", "d", "e", "1 more were left out."]


def test_contours_show_coarse_and_refined_until_they_are_no_longer_wanted(open_dock: Any, settled: Any, tiny_case: Case) -> None:
    dock: BreastSegWidget = open_dock()
    use(dock, tiny_case, settled)
    assert not dock.predict.contours.isEnabled()
    dock.predict.predict.click()
    settled(dock)
    assert dock.desk.view is not None
    tumour, coarse = (dock.desk.view.layer(role) for role in ("tumour", "coarse"))
    assert (tumour.contour, coarse.visible) == (0, False)
    dock.predict.contours.setChecked(True)
    assert (tumour.contour, coarse.contour, coarse.visible) == (1, 1, True)
    dock.predict.predict.click()
    settled(dock)
    assert (tumour.contour, coarse.contour, coarse.visible) == (1, 1, True)
    coarse.visible = False  # what the person hides stays hidden
    dock.desk.changed.emit()
    assert not coarse.visible
    dock.predict.contours.setChecked(False)
    assert (tumour.contour, tumour.visible, coarse.visible) == (0, True, False)


def test_contours_of_the_largest_image_can_still_be_kept_with_the_view(open_dock: Any, settled: Any, tmp_path: Path) -> None:
    """How a case is looked at is kept in the session, where an outline may not be wider than napari's."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8000), np.uint8)).save(tmp_path / "long.png")
    dock: BreastSegWidget = open_dock()
    dock.case._read(str(tmp_path / "long.png"))
    settled(dock)
    dock.predict.predict.click()
    settled(dock)
    dock.predict.contours.setChecked(True)
    assert dock.desk.view is not None
    look = capture(dock.desk.viewer, dock.desk.view, None)
    assert ViewState.of(look.stored()) == look
    assert dock.desk.view.layer("tumour").contour > 1
