from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_breastseg import read_case, read_mask, write_mask
from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io import require_foreground, write_map

Save = Callable[..., Path]
OBLIQUE = np.array([[0.1, -0.69, 0.05, 3], [0.78, 0.12, 0.02, -8], [-0.03, 0.04, 1.19, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def case(series: Path) -> Case:
    return read_case(series)


def a_mask(case: Case) -> np.ndarray:
    return (np.random.default_rng(5).random(case.shape) > 0.7).astype(np.uint8)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii"])
def test_a_mask_comes_back_as_it_was_written(case: Case, tmp_path: Path, name: str) -> None:
    mask = a_mask(case)
    write_mask(mask, case.geometry, tmp_path / name)
    read = read_mask(tmp_path / name, case)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, mask)


def test_the_file_has_the_grid_of_the_original(series: Path, case: Case, tmp_path: Path) -> None:
    original = nib.load(series / "case_1_0000.nii.gz")
    write_mask(a_mask(case), case.geometry, tmp_path / "m.nii.gz")
    written = nib.load(tmp_path / "m.nii.gz")
    assert written.shape == original.shape
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_allclose(written.get_qform(), written.get_sform(), atol=1e-5)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    assert written.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_is_said_by_the_sform_alone(save: Save, tmp_path: Path) -> None:
    sheared = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    case = read_case(save("s.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5), sheared))
    write_mask(np.ones(case.shape, np.uint8), case.geometry, tmp_path / "m.nii.gz")
    written = nib.load(tmp_path / "m.nii.gz")
    assert int(written.header["qform_code"]) == 0
    np.testing.assert_allclose(written.affine, sheared, atol=1e-6)
    assert read_mask(tmp_path / "m.nii.gz", case).all()


def test_an_oblique_case_round_trips(save: Save, tmp_path: Path) -> None:
    case = read_case(save("o.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5), OBLIQUE))
    mask = a_mask(case)
    write_mask(mask, case.geometry, tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", case), mask)


@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([2.0, -1.0, 1.5, 1.0])])
def test_a_map_lies_where_its_case_lies_and_keeps_its_values(save: Save, tmp_path: Path, affine: np.ndarray) -> None:
    stored = np.random.default_rng(2).normal(size=(4, 5, 6)).astype(np.float32)
    case = read_case(save("v.nii.gz", stored, affine))
    write_map(-case.phase(0), case.geometry, tmp_path / "map.nii.gz")
    written = nib.load(tmp_path / "map.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), -stored)


def test_the_same_mask_gives_the_same_bytes(case: Case, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_mask(a_mask(case), case.geometry, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_mask_stored_in_another_order_is_put_right(case: Case, save: Save, tmp_path: Path) -> None:
    mask = a_mask(case)
    write_mask(mask, case.geometry, tmp_path / "m.nii.gz")
    as_ras = nib.as_closest_canonical(nib.load(tmp_path / "m.nii.gz"))
    nib.save(as_ras, tmp_path / "ras.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "ras.nii.gz", case), mask)


def test_any_one_value_is_tumour(case: Case, save: Save) -> None:
    assert read_mask(save("m.nii.gz", np.full((6, 5, 4), 255, np.uint8)), case).max() == 1


def test_a_mask_without_tumour_is_read_but_refused_where_one_is_needed(case: Case, save: Save) -> None:
    path = save("m.nii.gz", np.zeros((6, 5, 4), np.uint8))
    mask = read_mask(path, case)
    assert not mask.any()
    with pytest.raises(InputError, match="contains no tumour voxel"):
        require_foreground(mask, path)
    mask[0, 0, 0] = 1
    require_foreground(mask, path)


def test_a_mask_of_another_shape_is_refused(case: Case, save: Save) -> None:
    with pytest.raises(InputError, match="not on the grid of case_1.*Resample"):
        read_mask(save("m.nii.gz", np.zeros((6, 5, 3), np.uint8)), case)


def test_a_mask_at_another_place_is_refused(case: Case, save: Save) -> None:
    moved = case.geometry.affine.copy()
    moved[:3, 3] += 2
    with pytest.raises(InputError, match="position or voxel size differ"):
        read_mask(save("m.nii.gz", np.zeros((6, 5, 4), np.uint8), moved), case)


@pytest.mark.parametrize(
    "values",
    [np.arange(120) % 3, np.linspace(0, 1, 120), np.where(np.arange(120) % 2, 1, np.nan), np.arange(120) % 2 - 1, np.arange(120) % 2 + 1],
    ids=["labels", "probability", "nan", "negative", "no-background"],
)
def test_what_is_no_mask_is_refused(case: Case, save: Save, values: np.ndarray) -> None:
    with pytest.raises(InputError, match="holds the values"):
        read_mask(save("m.nii.gz", values.astype(np.float32).reshape(6, 5, 4)), case)


def test_several_volumes_are_no_mask(case: Case, save: Save) -> None:
    with pytest.raises(InputError, match="2 volumes"):
        read_mask(save("m.nii.gz", np.zeros((6, 5, 4, 2), np.uint8)), case)


def test_a_name_that_is_no_nifti_name_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"End it in \.nii\.gz"):
        write_mask(a_mask(case), case.geometry, tmp_path / "m.png")
    assert not (tmp_path / "m.png").exists()


def test_a_mask_of_another_case_is_not_written(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its own case"):
        write_mask(np.zeros((1, 2, 3), np.uint8), case.geometry, tmp_path / "m.nii.gz")


def test_a_missing_folder_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be written.*Choose a folder"):
        write_mask(a_mask(case), case.geometry, tmp_path / "gone" / "m.nii.gz")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out" / "m.nii.gz"
    path.parent.mkdir()
    write_mask(a_mask(case), case.geometry, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_mask(1 - a_mask(case), case.geometry, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.realdata
def test_a_real_mask_lies_on_the_tumour_and_is_written_back_unchanged(data: Path, tmp_path: Path) -> None:
    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    original = folder / "duke_153_tumour_semiauto.nii.gz"
    mask = read_mask(original, case)
    assert mask.sum() == 6291
    assert mask.sum() * case.geometry.voxel_ml == pytest.approx(3.99, abs=0.01)
    first_post = case.phase(1)
    assert first_post[mask == 1].mean() == pytest.approx(380.0, abs=0.5)
    assert first_post[mask == 1].mean() > 3 * first_post[mask == 0].mean()
    write_mask(mask, case.geometry, tmp_path / "back.nii.gz")
    ours, theirs = nib.load(tmp_path / "back.nii.gz"), nib.load(original)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    np.testing.assert_array_equal(ours.affine, theirs.affine)


@pytest.mark.parametrize("scale", [None, (0.1, 0.2)])
def test_a_mask_of_an_image_comes_back_from_a_picture(tmp_path: Path, scale: tuple[float, float] | None) -> None:
    """It has no scale of its own and takes that of its image; one that tells another scale, or has another size, is refused."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)).save(tmp_path / "a.png")
    if scale is not None:
        (tmp_path / "a.json").write_text(json.dumps({"PixelSpacing": scale}))
    case = read_case(tmp_path / "a.png")
    mask = np.zeros(case.shape, np.uint8)
    mask[0, 10:20, 30:50] = 1
    (tmp_path / "masks").mkdir()
    write_mask(mask, case.geometry, tmp_path / "masks" / "mine.png")
    assert set(np.unique(Image.open(tmp_path / "masks" / "mine.png"))) == {0, 255}
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "mine.png", case), mask)
    (tmp_path / "masks" / "mine.json").write_text('{"PixelSpacing": [0.5, 0.5]}')
    with pytest.raises(InputError, match="not on the grid"):
        read_mask(tmp_path / "masks" / "mine.png", case)
    Image.fromarray(np.zeros((60, 40), np.uint8)).save(tmp_path / "turned.png")
    with pytest.raises(InputError, match="not on the grid"):
        read_mask(tmp_path / "turned.png", case)
    with pytest.raises(InputError, match="There is no file"):
        read_mask(tmp_path / "nothing.png", case)


def test_a_volume_has_no_mask_in_a_picture(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"End it in \.nii"):
        write_mask(a_mask(case), case.geometry, tmp_path / "m.png")
