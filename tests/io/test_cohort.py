"""Cohorts in both layouts: what is found, what is read, and what is refused in words."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.io import cohort
from napari_breastseg.io.cohort import find_cases

SHAPE = (8, 7, 6)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), path)


def phases(folder: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for index in range(2):
        save(folder / f"{name}_{index:04d}.nii.gz", rng.normal(100, 5, SHAPE).astype(np.float32))


def mask(value: int) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[:value, :2, :2] = 1
    return array


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for index, name in enumerate(("b", "a")):
        phases(tmp_path / "cohort" / name, "scan", index)
        save(tmp_path / "cohort" / name / "scan_mask.nii.gz", mask(index + 1))
    return tmp_path / "cohort"


@pytest.fixture
def mama_mia(tmp_path: Path) -> Path:
    for index, name in enumerate(("DUKE_001", "ISPY1_1001")):
        phases(tmp_path / "mama" / "images" / name, name.lower(), index)
        expert = tmp_path / "mama" / "segmentations" / "expert"
        save(expert / f"{name.lower() if index == 0 else name}.nii.gz", mask(index + 1))
        save(tmp_path / "mama" / "segmentations" / "automatic" / f"{name.lower()}.nii.gz", mask(5))
    (tmp_path / "mama" / "clinical_and_imaging_info.xlsx").touch()
    return tmp_path / "mama"


@pytest.mark.parametrize(("layout", "names", "voxels"), [("folders", ["a", "b"], [8, 4]), ("mama_mia", ["DUKE_001", "ISPY1_1001"], [4, 8])])
def test_both_layouts(layout: str, names: list[str], voxels: list[int], request: pytest.FixtureRequest) -> None:
    found = find_cases(request.getfixturevalue(layout))
    assert [case.name for case in found] == names
    read = [case.read() for case in found]
    assert [int(truth.sum()) for _, truth in read] == voxels
    assert all(case.phases == 2 and truth.shape == case.shape == (6, 7, 8) for case, truth in read)


def test_nothing_is_read_until_it_is_asked_for(mama_mia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "read_case", None)
    assert len(find_cases(mama_mia)) == 2


def test_a_missing_mask_of_mama_mia_is_named(mama_mia: Path) -> None:
    (mama_mia / "segmentations" / "expert" / "duke_001.nii.gz").unlink()
    with pytest.raises(InputError, match=r"DUKE_001 has no mask .*duke_001\.nii\.gz\. Add it"):
        find_cases(mama_mia)


@pytest.mark.parametrize("count", [0, 2])
def test_each_folder_needs_exactly_one_mask(folders: Path, count: int) -> None:
    if count:
        save(folders / "a" / "tumour.nii.gz", mask(1))
    else:
        (folders / "a" / "scan_mask.nii.gz").unlink()
    with pytest.raises(InputError, match=rf"a holds {count} masks.*\. Give each case one"):
        find_cases(folders)


def test_what_is_no_truth_is_not_taken_for_it(folders: Path) -> None:
    """Phases of a case named after its tumour, maps of an earlier prediction, hidden folders, capitals."""
    (folders / ".cache").mkdir()
    phases(folders / "tumor_01", "tumor_01", 3)
    save(folders / "tumor_01" / "tumor_01_frloss-negative.nii.gz", mask(3))
    save(folders / "tumor_01" / "tumor_01_uncertainty.nii.gz", mask(3))
    save(folders / "tumor_01" / "Truth_MASK.nii.gz", mask(1))
    found = find_cases(folders)
    assert [(case.name, case.mask.name) for case in found][-1] == ("tumor_01", "Truth_MASK.nii.gz") and len(found) == 3


def test_a_fingerprint_follows_mask_and_phases(folders: Path) -> None:
    case = find_cases(folders)[0]
    first = case.fingerprint()
    assert case.fingerprint() == first
    save(case.mask, mask(6))
    second = case.fingerprint()
    phases(folders / "a", "scan", 9)
    assert len({first, second, case.fingerprint()}) == 3


def test_headers_alone_tell_a_wrong_grid_and_a_missing_phase(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "read_case", None)
    one, other = find_cases(folders)
    one.check()
    save(one.mask, np.zeros((8, 7, 5), np.uint8))
    with pytest.raises(InputError, match="not on the grid of a:"):
        one.check()
    (other.images / "scan_0000.nii.gz").unlink()
    with pytest.raises(InputError, match="Phase 0000 of scan is missing"):
        other.check()


def test_no_cases(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(InputError, match="holds no folders of cases"):
        find_cases(tmp_path)


def test_a_mask_of_another_grid_is_refused_when_read(folders: Path) -> None:
    save(folders / "a" / "scan_mask.nii.gz", np.zeros((8, 7, 5), np.uint8))
    with pytest.raises(InputError, match="not on the grid"):
        find_cases(folders)[0].read()
