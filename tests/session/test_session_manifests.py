"""What the files of a folder must be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_breastseg.session.disk import manifests


def test_strangers_are_files_and_links_that_the_manifest_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "0" / "c").mkdir(parents=True)
    for name in ("zarr.json", "0/c/1", "0/c/2"):
        (tmp_path / name).write_text(name)
    known = manifests.manifest_of(tmp_path)
    assert manifests.strangers(tmp_path, known) == []
    (tmp_path / "0" / "new").write_text("")
    (tmp_path / "0" / "away").symlink_to(tmp_path.parent, target_is_directory=True)
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    del known["0/c/2"]
    wanted = [tmp_path / name for name in ("0/away", "0/c/2", "0/new", "broken")]
    assert manifests.strangers(tmp_path, known) == wanted


def test_a_folder_that_is_removed_while_it_is_looked_through_has_no_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "snapshot"
    for name in "abc":
        (folder / name / "c").mkdir(parents=True)
        (folder / name / "c" / "0").write_text(name)

    def removed(path: Path) -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return path.is_symlink()

    monkeypatch.setattr(manifests, "is_link", removed)
    assert manifests.strangers(folder, {}) == []
