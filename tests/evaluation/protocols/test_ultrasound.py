"""BUSI as material: what is held out stays apart, and a stream runs on images of one slice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import ultrasound
from napari_breastseg.evaluation.protocols.ultrasound import Fold, busi_fold, busi_material


@pytest.fixture
def busi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen images of two folds, every second one a near-duplicate of the one before, and a healthy one."""
    monkeypatch.setattr(ultrasound, "TRAINED", 2)
    monkeypatch.setattr(ultrasound, "BASE_CASES", 1)
    monkeypatch.setattr(ultrasound, "SHIFTED_CASES", 1)
    rows = [{"id": f"b{n:02}", "cls": "benign", "dup_group": n // 2, "fold": n // 8} for n in range(16)]
    rows.append({"id": "n0", "cls": "normal", "dup_group": 99, "fold": 0})
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for row in rows:
        Image.fromarray(rng.integers(0, 255, (24, 32), dtype=np.uint8)).save(tmp_path / "images" / f"{row['id']}.png")
        Image.fromarray(np.eye(24, 32, dtype=np.uint8) * 255).save(tmp_path / "masks" / f"{row['id']}.png")
    with (tmp_path / "index.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return tmp_path


def parts(fold: Fold) -> list[list[int]]:
    return [[int(case.name[1:]) for case in part] for part in (fold.trained, fold.base, fold.shifted, fold.stream)]


def test_no_group_of_near_duplicates_is_seen_twice(busi: Path) -> None:
    for held_out in (0, 1):
        found = parts(busi_fold(busi, held_out))
        assert [len(part) for part in found] == [2, 1, 1, 3]
        groups = [number // 2 for part in found for number in part]
        assert len(set(groups)) == len(groups)
        trained, base, shifted, stream = ({number // 8 for number in part} for part in found)
        assert trained == base == {1 - held_out} and shifted == stream == {held_out}
        assert found == parts(busi_fold(busi, held_out))  # always the same order


def test_material_reads_images_and_masks(busi: Path) -> None:
    fold = busi_fold(busi, 0)
    material = busi_material(fold)
    names = [one.case.name for one in material.stream(7, 2)]
    assert names == [case.name for case in fold.stream[:2]]
    sets = material.sets()
    assert {name: len(found) for name, found in sets.items()} == {"base": 1, "shifted": 1}
    assert sets["base"][0].truth.sum() == 24


def test_refusals(busi: Path) -> None:
    with pytest.raises(InputError, match="no fold 5"):
        busi_fold(busi, 5)
    for kind, name in (("images", "b03.png"), ("masks", "b03.png")):
        (busi / kind / name).unlink()
    with pytest.raises(InputError, match="b03 among them"):
        busi_fold(busi, 0)
    (busi / "index.csv").unlink()
    with pytest.raises(InputError, match="There is no"):
        busi_fold(busi, 0)


@pytest.mark.realdata
def test_the_folds_of_busi(data: Path) -> None:
    for held_out in range(4):
        fold = busi_fold(data / "busi_512", held_out)
        assert len(fold.stream) >= 60
        assert (len(fold.trained), len(fold.base), len(fold.shifted)) == (100, 20, 20)
