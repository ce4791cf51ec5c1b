"""Linked images, what is left behind, and names that look like formatted text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_breastseg.case import Case
from napari_breastseg.io import read_case
from napari_breastseg.session import Session, links
from napari_breastseg.widgets import reader
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import use

pytestmark = pytest.mark.qt


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account of one's own: consent to links is remembered there."""
    monkeypatch.setattr(links, "user_state_path", lambda *_: tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(100, 20, (9, 10, 11, 2)).astype(np.float32)
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header["descrip"] = b"someone"
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def open_as_napari_does(dock: BreastSegWidget, path: Path) -> None:
    for data, attributes, _ in reader.read(str(path)):
        dock.desk.viewer.add_image(data, **attributes)


def test_an_image_from_a_file_can_be_linked(open_dock: Any, settled: Any, file: Path, notices: list[str]) -> None:
    dock = open_dock()
    open_as_napari_does(dock, file)
    assert dock.case.link.isEnabled() and not dock.case.link.isChecked()
    dock.case.link.click()
    dock.case.use.click()
    settled(dock)
    session = dock.desk.session
    assert notices == [] and session is not None
    assert list((session.path / "cases").glob("*")) == []
    assert np.array_equal(np.asarray(dock.desk.view.layer("case").data), read_case(file).images)
    assert dock.case.left_behind.text() == "Left behind: descrip"
    path = session.path
    dock.shut()
    again = open_dock(ViewerModel())
    again.desk.open_session(path)
    settled(again)
    assert again.desk.view.layer("case").data.shape == (2, 11, 10, 9)
    assert again.case.left_behind.text() == "Left behind: descrip"


def test_an_image_from_elsewhere_cannot_be_linked(dock_with_case: BreastSegWidget) -> None:
    assert not dock_with_case.case.link.isEnabled()
    assert dock_with_case.case.left_behind.isHidden()


def test_links_of_a_strangers_session_are_followed_only_on_request(
    open_dock: Any, settled: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    with Session.create(tmp_path / "theirs") as session:
        case_id = session.add_case(read_case(file), link=file)
    monkeypatch.setattr(links, "user_state_path", lambda *_: tmp_path / "another")
    dock = open_dock()
    dock.desk.open_session(tmp_path / "theirs")
    settled(dock)
    assert dock.desk.view is None and len(dock.desk.viewer.layers) == 0
    assert "lie outside the session" in dock.case.hint.text() and not dock.case.follow.isHidden()
    assert not dock.predict.predict.isEnabled()
    dock.case.follow.click()
    settled(dock)
    assert notices == []
    assert dock.desk.case_id == case_id and dock.desk.view is not None
    assert dock.case.follow.isHidden() and dock.predict.predict.isEnabled()


def test_a_linked_file_that_changed_is_told_of(open_dock: Any, settled: Any, file: Path, tmp_path: Path, notices: list[str]) -> None:
    with Session.create(tmp_path / "mine") as session:
        session.add_case(read_case(file), link=file)
    file.unlink()
    dock = open_dock()
    dock.desk.open_session(tmp_path / "mine")
    settled(dock)
    assert len(notices) == 1 and "linked images cannot be read" in notices[0]
    assert dock.desk.session is None


def test_names_from_a_session_are_never_formatted_text(open_dock: Any, settled: Any, tiny_case: Case, tmp_path: Path) -> None:
    name = "<img src='file:///etc/passwd'><b>bold</b>"
    dropped = ("descrip", "extension DICOM", "<b>aux</b>", "x" * 500)
    hostile = Case(name, tiny_case.images, tiny_case.geometry, (), metadata={"identifiers_dropped": dropped, "breastseg_role": "tumour"})
    dock = open_dock()
    use(dock, hostile, settled)
    image = dock.desk.view.layer("case")
    assert image is not None and "<" not in image.name
    assert "<img" not in dock.case.hint.text() and "&lt;img" in dock.case.hint.text()
    assert dock.case.left_behind.textFormat() == dock.case.recovered.textFormat()  # plain
    assert dock.case.left_behind.text() == "Left behind: descrip, DICOM extension, <b>aux</b>, " + "x" * 40
