"""Images that stay where they are: read and checked when asked for, never in a stranger's session without consent."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.io import read_case, write_map
from napari_breastseg.session import Session

from .helpers import make_case


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account of its own, whose consents are kept in the test's folder."""
    monkeypatch.setattr("napari_breastseg.session.links.user_state_path", lambda name: tmp_path / "account" / name)
    return tmp_path / "account"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one NIfTI file per phase."""
    folder = tmp_path / "examination"
    folder.mkdir()
    write_phases(folder, make_case())
    return folder


def write_phases(folder: Path, case: Case) -> None:
    for phase in range(case.phases):
        write_map(case.phase(phase), case.geometry, folder / f"c_{phase:04d}.nii")


def voxel_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "session.sqlite" not in path.name and path.name != "LOCK"]


def test_a_linked_case_is_the_case_without_its_voxels_in_the_session(folder: Path, source: Path) -> None:
    case = replace(read_case(source), times=(0.0, 90.0))
    with Session.create(folder) as session:
        case_id = session.add_case(case, link=source)
        assert session.links_trusted and session.add_case(case) == case_id
    assert voxel_files(folder) == []
    with Session.open(folder) as session:
        linked = session.case(case_id)
        np.testing.assert_array_equal(np.asarray(linked.images), case.images)
        np.testing.assert_array_equal(linked.phase(1), case.images[1])
        assert (linked.times, linked.images.shape, linked.images.ndim, len(linked.images)) == ((0.0, 90.0), case.images.shape, 4, 2)
        assert session.verify() == []


def test_opening_a_linked_case_reads_nothing_until_a_voxel_is_asked_for(folder: Path, source: Path) -> None:
    with Session.create(folder) as session:
        case_id = session.add_case(read_case(source), link=source)
        shutil.rmtree(source)
        case = session.case(case_id)
        assert session.annotation(case_id).shape == case.shape
        with pytest.raises(SessionError, match="linked images cannot be read"):
            case.phase(0)
        assert any("linked images" in problem for problem in session.verify())


@pytest.mark.parametrize("change", ["voxels", "grid", "phases"])
def test_images_that_have_changed_are_refused(folder: Path, source: Path, change: str) -> None:
    case = read_case(source)
    with Session.create(folder) as session:
        case_id = session.add_case(case, link=source)
        match change:
            case "voxels":
                images = case.images.copy()
                images[0, 0, 0, 0] += 1
                write_phases(source, replace(case, images=images))
            case "grid":
                affine = case.geometry.affine.copy()
                affine[0, 3] += 5
                write_phases(source, replace(case, geometry=replace(case.geometry, affine=affine)))
            case _:
                write_phases(source, replace(case, images=np.concatenate([case.images, case.images[:1]]), times=()))
        with pytest.raises(SessionError, match="no longer those that were linked"):
            session.case(case_id).phase(0)
        assert session.verify()


def test_only_the_very_images_are_linked(folder: Path, source: Path) -> None:
    with Session.create(folder) as session:
        with pytest.raises(InputError, match="not those of"):
            session.add_case(make_case(1), link=source)
        assert session.cases == []


def test_a_link_without_an_identity_is_not_followed_either(folder: Path, source: Path) -> None:
    """As somebody would forge it: nothing says that this account ever linked anything here."""
    with Session.create(folder) as session:
        case_id = session.add_case(read_case(source), link=source)
        with session._open.journal.transaction("x"):
            session._open.journal._connection.execute("DELETE FROM head WHERE name='identity'")
        assert not session.links_trusted
        with pytest.raises(SessionError, match="outside the session"):
            session.case(case_id)
        session.trust_links()
        assert session.links_trusted and session.case(case_id).phase(0).any()


def test_a_stranger_session_follows_no_link_without_consent(
    folder: Path, source: Path, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session.create(folder) as session:
        case_id = session.add_case(read_case(source), link=source)
    shutil.rmtree(account)
    touched: list[object] = []
    monkeypatch.setattr("napari_breastseg.io.read_case", lambda path: touched.append(path))
    with Session.open(folder) as session:
        assert not session.links_trusted
        with pytest.raises(SessionError, match=r"outside the session, in .*examination.* not made here"):
            session.case(case_id)
        assert session.verify() and touched == []
        monkeypatch.undo()
        monkeypatch.setattr("napari_breastseg.session.links.user_state_path", lambda name: account / name)
        session.trust_links()
        assert session.case(case_id).phase(0).shape == make_case().shape
    moved = folder.with_name("moved")
    shutil.copytree(folder, moved)
    with Session.open(moved) as session:
        assert not session.links_trusted, "consent is for one session in one place"


def test_images_that_were_moved_are_linked_anew_or_copied_in(folder: Path, source: Path, tmp_path: Path) -> None:
    case = read_case(source)
    with Session.create(folder) as session:
        case_id = session.add_case(case, link=source)
        source.rename(tmp_path / "moved")
        with pytest.raises(SessionError, match="cannot be read"):
            session.case(case_id).phase(0)
        assert session.add_case(case, link=tmp_path / "moved") == case_id
        np.testing.assert_array_equal(session.case(case_id).phase(0), case.images[0])
        shutil.rmtree(tmp_path / "moved")
        assert session.add_case(case) == case_id
        np.testing.assert_array_equal(session.case(case_id).phase(0), case.images[0])
        assert session.verify() == [] and session.cases == [case_id]


def test_consent_is_for_the_links_that_there_were(folder: Path, source: Path, tmp_path: Path) -> None:
    """A stranger changes a link, or adds one, in a session that this account has linked images in."""
    with Session.create(folder) as session:
        case_id = session.add_case(read_case(source), link=source)
        assert session.case(case_id).phase(0).any()
        with session._open.journal.transaction("x"):
            (row,) = session._open.journal.rows("case")
            session._open.journal.amend("case", row, link=str(tmp_path / "secret"))
        assert not session.links_trusted
        with pytest.raises(SessionError, match="outside the session"):
            session.case(case_id)
