"""Folders of many cases in every layout: what is a case, what is not, and what it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case
from napari_breastseg.io.listing import is_cohort, list_cases

Save = Callable[..., Path]


@pytest.fixture
def phases(save: Save) -> Callable[..., None]:
    """Write two phases of a case, each voxel drawn from `seed`."""

    def write(case: str, seed: int = 0, count: int = 2) -> None:
        rng = np.random.default_rng(seed)
        for index in range(count):
            save(f"{case}_{index:04d}.nii.gz", rng.normal(100, 9, (5, 4, 3)).astype(np.float32))

    return write


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 9, (5, 4, 3)).astype(np.float32)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(path)


def names(folder: Path) -> list[str]:
    return [case.name for case in list_cases(folder).cases]


def test_a_folder_per_case_has_the_folders_name_and_masks_are_no_cases(tmp_path: Path, save: Save, phases: Callable[..., None]) -> None:
    for seed, name in enumerate(("b", "a")):
        phases(f"cohort/{name}/scan", seed)
        save(f"cohort/{name}/scan_mask.nii.gz", volume())
    save("cohort/c/dce.nii.gz", np.stack([volume(1), volume(2), volume(3)], -1))
    save("cohort/c/tumour.nii.gz", volume())
    save("cohort/c/tumour_frloss-boundary.nii.gz", volume())
    listing = list_cases(tmp_path / "cohort")
    assert [case.name for case in listing.cases] == ["a", "b", "c"]
    assert sorted(path.name for path in listing.left_out) == [
        "scan_mask.nii.gz", "scan_mask.nii.gz", "tumour.nii.gz", "tumour_frloss-boundary.nii.gz",
    ]  # fmt: skip
    read = [case.read() for case in listing.cases]
    assert [(case.name, case.phases) for case in read] == [("a", 2), ("b", 2), ("c", 3)]
    np.testing.assert_array_equal(read[0].images, read_case(tmp_path / "cohort" / "a").images)


@pytest.mark.parametrize("inside", ["", "images"])
def test_mama_mia_from_the_top_or_from_its_images(tmp_path: Path, save: Save, phases: Callable[..., None], inside: str) -> None:
    for name in ("DUKE_001", "ISPY1_1001"):
        phases(f"mama/images/{name}/{name.lower()}")
        save(f"mama/segmentations/expert/{name.lower()}.nii.gz", volume())
    assert names(tmp_path / "mama" / inside) == ["DUKE_001", "ISPY1_1001"]


@pytest.mark.parametrize("inside", ["", "imagesTs"])
def test_nnu_net_keeps_several_cases_side_by_side(tmp_path: Path, save: Save, phases: Callable[..., None], inside: str) -> None:
    for seed, name in enumerate(("breast_002", "breast_001")):
        phases(f"data/imagesTs/{name}", seed)
        save(f"data/labelsTs/{name}.nii.gz", volume())
    listing = list_cases(tmp_path / "data" / inside)
    assert [case.name for case in listing.cases] == ["breast_001", "breast_002"]
    assert [file.name for file in listing.cases[1].files] == ["breast_002_0000.nii.gz", "breast_002_0001.nii.gz"]
    case = listing.cases[0].read()
    assert case.phases == 2 and case.modality == "dce-mri"
    np.testing.assert_array_equal(case.phase(1), read_case(tmp_path / "data" / "imagesTs" / "breast_001_0001.nii.gz").phase(0))


def test_files_without_phases_are_a_case_each(tmp_path: Path, save: Save) -> None:
    for name in ("two", "one", "one_seg", "one-Seg-2", "two_Tumor", "two segmentation", "one_uncertainty", "Segal", "breastseg_7"):
        save(f"files/{name}.nii.gz", volume())
    assert names(tmp_path / "files") == ["Segal", "breastseg_7", "one", "two"]


def test_folders_of_truth_are_named_among_what_was_left_out(tmp_path: Path, save: Save, phases: Callable[..., None]) -> None:
    phases("study/P1/scan")
    phases("study/labels_of_ours/P2/scan")
    save("study/P1/mask.nii.gz", volume())
    listing = list_cases(tmp_path / "study")
    assert [case.name for case in listing.cases] == ["P1"]
    assert [path.name for path in listing.left_out] == ["mask.nii.gz", "labels_of_ours"]


def test_image_files_are_cases_only_where_there_is_no_nifti(tmp_path: Path, save: Save) -> None:
    for name in ("benign (1).png", "benign (1)_mask.png", "malignant (2).jpg"):
        picture(tmp_path / "busi" / "x" / name)
    picture(tmp_path / "busi" / "masks" / "malignant (2).png")
    listing = list_cases(tmp_path / "busi")
    assert [case.name for case in listing.cases] == ["benign (1)", "malignant (2)"]
    assert [case.read().modality for case in listing.cases] == ["image", "image"]
    assert [path.name for path in listing.left_out] == ["masks", "benign (1)_mask.png"]
    save("busi/one/scan.nii.gz", volume())
    listing = list_cases(tmp_path / "busi")
    assert [case.name for case in listing.cases] == ["one"] and len(listing.left_out) == 4


def test_cases_of_one_name_take_that_of_their_folders_too(tmp_path: Path, save: Save, phases: Callable[..., None]) -> None:
    for place in ("north/P1", "south/p1", "south/p2"):
        phases(f"sites/{place}/scan")
    assert names(tmp_path / "sites") == ["north_P1", "south_p1", "p2"]
    save("files/x.nii", volume())
    save("files/x.nii.gz", volume())
    with pytest.raises(InputError, match=r"x\.nii and .*x\.nii\.gz have the same name. Rename one"):
        list_cases(tmp_path / "files")


def test_a_missing_phase_is_the_failure_of_one_case(tmp_path: Path, phases: Callable[..., None]) -> None:
    phases("flat/a", count=3)
    phases("flat/b")
    (tmp_path / "flat" / "a_0001.nii.gz").unlink()
    first, second = list_cases(tmp_path / "flat").cases
    with pytest.raises(InputError, match="Phase 0001 of a is missing"):
        first.read()
    assert second.read().phases == 2


def test_links_are_followed_but_not_round_in_circles(tmp_path: Path, phases: Callable[..., None]) -> None:
    phases("elsewhere/a/scan")
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "linked").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "cohort" / "round").symlink_to(tmp_path / "cohort")
    assert names(tmp_path / "cohort") == ["linked"]


@pytest.mark.parametrize("left", ["nothing", "a mask"])
def test_where_there_is_no_case_one_sentence_says_so(tmp_path: Path, save: Save, left: str) -> None:
    (tmp_path / "empty").mkdir()
    if left == "a mask":
        save("empty/x/mask.nii.gz", volume())
    with pytest.raises(InputError, match="holds no examinations" + (" but 1 named like those of masks" if left == "a mask" else ", so")):
        list_cases(tmp_path / "empty")


def test_what_read_case_takes_for_one_case_is_no_cohort(tmp_path: Path, save: Save, phases: Callable[..., None]) -> None:
    phases("one/scan")
    save("one/mask.nii.gz", volume())
    phases("one/more/scan")
    save("single/anything_mask.nii.gz", volume())
    phases("hole/scan", count=3)
    (tmp_path / "hole" / "scan_0001.nii.gz").unlink()
    for one in ("one", "single", "hole", "one/scan_0000.nii.gz", "not there"):
        assert not is_cohort(tmp_path / one)
    phases("flat/a")
    phases("flat/b")
    save("files/a.nii.gz", volume())
    save("files/b.nii.gz", volume())
    phases("folders/a/scan")
    (tmp_path / "empty").mkdir()
    for many in ("flat", "files", "folders", "empty"):
        assert is_cohort(tmp_path / many)


def test_times_beside_the_images_reach_the_case_wherever_it_is_read(tmp_path: Path, save: Save, phases: Callable[..., None]) -> None:
    phases("cohort/a/scan")
    save("cohort/b/scan.nii.gz", volume())
    (tmp_path / "cohort" / "meta.json").write_text('{"times": [0, 90.5]}')
    first, second = list_cases(tmp_path / "cohort").cases
    times = first.times()
    assert times == (0.0, 90.5)
    (tmp_path / "cohort" / "meta.json").unlink()
    assert first.read(times).times == times and first.read().times == ()
    assert second.read(times).times == ()  # a single phase has none, whatever lies beside it


def test_the_fingerprint_changes_with_any_file(tmp_path: Path, phases: Callable[..., None]) -> None:
    phases("cohort/a/scan")
    (case,) = list_cases(tmp_path / "cohort").cases
    before = case.fingerprint()
    assert list(before) == ["scan_0000.nii.gz", "scan_0001.nii.gz"] and before == case.fingerprint()
    phases("cohort/a/scan", seed=1)
    assert case.fingerprint() != before
    case.files[1].unlink()
    with pytest.raises(InputError, match="cannot be read"):
        case.fingerprint()
