from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_breastseg import read_case
from napari_breastseg.errors import InputError
from napari_breastseg.io.orientation import from_canonical
from napari_breastseg.session import Session

Save = Callable[..., Path]


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def patch_header(path: Path, offset: int, content: bytes) -> None:
    """Overwrite bytes of the header, as a careless program does."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw)))


# --- what can be read


def test_a_folder_of_phases(series: Path) -> None:
    case = read_case(series)
    assert (case.name, case.phases, case.shape, case.modality) == ("case_1", 4, (4, 5, 6), "dce-mri")
    assert case.geometry.spacing == pytest.approx((1.2, 0.7, 0.8))
    assert case.images.dtype == np.float32
    for phase in range(4):
        np.testing.assert_array_equal(from_canonical(case.phase(phase), case.geometry), stored(series / f"case_1_{phase:04d}.nii.gz"))


def test_a_four_dimensional_file_equals_the_same_phases_in_a_folder(series: Path, save: Save) -> None:
    together = np.stack([stored(series / f"case_1_{phase:04d}.nii.gz") for phase in range(4)], axis=-1)
    case = read_case(save("together.nii", together))
    assert case.name == "together"
    np.testing.assert_array_equal(case.images, read_case(series).images)


def test_a_single_volume(save: Save) -> None:
    case = read_case(save("x/one.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5)).parent)
    assert (case.name, case.phases, case.shape, case.modality, case.times) == ("one", 1, (5, 4, 3), "mri", ())


def test_a_two_dimensional_file_has_one_slice(save: Save) -> None:
    assert read_case(save("flat.nii.gz", np.arange(12, dtype=np.uint8).reshape(3, 4))).shape == (1, 4, 3)


def test_one_phase_of_a_series_needs_none_of_the_others_times(series: Path) -> None:
    (series / "times.json").write_text(json.dumps({"times": [0, 1, 2, 3]}))
    case = read_case(series / "case_1_0002.nii.gz")
    assert (case.name, case.phases, case.times) == ("case_1", 1, ())


def test_masks_and_labels_beside_the_phases_are_left_alone(series: Path, save: Save) -> None:
    save("series/case_1_tumour.nii.gz", np.ones((2, 2, 2), np.uint8))
    save("series/other_label.nii.gz", np.ones((2, 2, 2), np.uint8))
    (series / "._case_1_0009.nii.gz").write_bytes(b"not an image")
    assert read_case(series).phases == 4


def test_scaling_factors_are_applied(save: Save) -> None:
    path = save("scaled.nii.gz", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    patch_header(path, 112, struct.pack("<ff", 0.5, -3.0))
    case = read_case(path)
    assert (case.images.min(), case.images.max()) == (-3.0, 0.5)


def test_nifti_2_and_big_endian(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti2Image(array, np.eye(4)), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Image(array, np.eye(4), nib.Nifti1Header(endianness=">")), tmp_path / "big.nii")
    np.testing.assert_array_equal(read_case(tmp_path / "two.nii.gz").images, read_case(tmp_path / "big.nii").images)


def test_a_gzip_file_without_gz_in_its_name(save: Save) -> None:
    path = save("a.nii.gz", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    assert read_case(path.rename(path.with_name("b.nii"))).phases == 1


def test_names_in_the_header_stay_behind(save: Save) -> None:
    path = save("a.nii.gz", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    patch_header(path, 148, b"Doe^Jane 1961-02-03")
    assert "Doe" not in repr(read_case(path))


def test_a_file_that_states_no_orientation_says_so(save: Save) -> None:
    path = save("a.nii.gz", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    assert read_case(path).metadata["orientation_stated"] is True
    patch_header(path, 252, struct.pack("<hh", 0, 0))
    assert read_case(path).metadata["orientation_stated"] is False


# --- what is refused, in one sentence and what to do


def check_refused(path: Path, *expected: str) -> None:
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    with pytest.raises(InputError) as caught:
        read_case(path)
    message = str(caught.value)
    assert all(part in message for part in expected), message
    assert "\n" not in message
    assert before == {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}


def test_nothing_there(tmp_path: Path) -> None:
    check_refused(tmp_path / "gone.nii.gz", "no file or folder", "gone.nii.gz")


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    check_refused(tmp_path / "a", "holds no image", ".nii.gz")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    check_refused(tmp_path / "notes.txt", "is no image", ".nii.gz")


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 400, bytes(range(256)) * 8], ids=["empty", "text", "zeros", "bytes"])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_no_image_in_spite_of_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    check_refused(tmp_path / name, "is no NIfTI image")


def test_a_truncated_gzip_file(series: Path) -> None:
    path = series / "case_1_0001.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    check_refused(series, "case_1_0001.nii.gz", "cut short or damaged")


def test_a_gzip_file_with_a_flipped_bit(save: Save) -> None:
    path = save("a.nii.gz", np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    check_refused(path, "cut short or damaged")


def test_voxels_missing_at_the_end(save: Save) -> None:
    path = save("a.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    path.write_bytes(path.read_bytes()[:-1])
    check_refused(path, "voxels are missing at its end")


def test_a_header_that_claims_more_than_any_machine_holds(save: Save) -> None:
    path = save("a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    patch_header(path, 40, struct.pack("<4h", 3, 32767, 32767, 32767))
    check_refused(path, "voxels are missing at its end")


def test_random_damage_to_the_header_never_ends_in_a_traceback(save: Save) -> None:
    path = save("a.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(500):
        damaged = bytearray(whole)
        for place in rng.integers(0, 352, 6):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_case(path)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_missing_phase_is_named(series: Path) -> None:
    (series / "case_1_0002.nii.gz").unlink()
    check_refused(series, "Phase 0002 of case_1 is missing", "Add case_1_0002.nii.gz")


def test_a_missing_first_phase_is_named(series: Path) -> None:
    (series / "case_1_0000.nii.gz").unlink()
    check_refused(series, "Phase 0000")


def test_several_cases_are_named(series: Path) -> None:
    shutil.copy(series / "case_1_0000.nii.gz", series / "case_2_0000.nii.gz")
    check_refused(series, "several cases (case_1, case_2)", "folder of its own")


def test_several_files_without_phases(save: Save) -> None:
    save("two/a.nii.gz", np.arange(8).reshape(2, 2, 2).astype(np.int16))
    check_refused(save("two/b.nii.gz", np.arange(8).reshape(2, 2, 2).astype(np.int16)).parent, "a.nii.gz, b.nii.gz", "Name one file")


def test_a_phase_that_is_there_twice(series: Path) -> None:
    (series / "case_1_0001.nii").write_bytes(gzip.decompress((series / "case_1_0001.nii.gz").read_bytes()))
    check_refused(series, "phase 0001 twice", "case_1_0001.nii and case_1_0001.nii.gz")


def test_phases_of_different_shapes(series: Path, save: Save) -> None:
    save("series/case_1_0003.nii.gz", np.arange(120).reshape(4, 5, 6).astype(np.int16))
    check_refused(series, "differ in shape", "case_1_0000.nii.gz is (6, 5, 4)", "case_1_0003.nii.gz is (4, 5, 6)")


def test_phases_on_different_grids(series: Path, save: Save) -> None:
    save("series/case_1_0003.nii.gz", stored(series / "case_1_0003.nii.gz"), np.diag([0.8, 0.7, 1.2, 1.0]))
    check_refused(series, "case_1_0000.nii.gz and case_1_0003.nii.gz lie on different grids")


def test_a_series_among_the_phases(series: Path, save: Save) -> None:
    save("series/case_1_0003.nii.gz", np.arange(240).reshape(6, 5, 4, 2).astype(np.int16))
    check_refused(series, "case_1_0003.nii.gz holds 2 volumes")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(save: Save, bad: float) -> None:
    array = np.arange(120, dtype=np.float32).reshape(4, 5, 3, 2)
    array[1, 2, :, 1] = bad
    check_refused(save("a.nii.gz", array), "Phase 1 of", "3 voxel(s) that are no number", "replace them")


def test_an_empty_phase(series: Path, save: Save) -> None:
    save("series/case_1_0002.nii.gz", np.zeros((6, 5, 4), np.uint16))
    check_refused(series, "Phase 2 of", "case_1_0002.nii.gz is empty: every voxel is 0")


@pytest.mark.parametrize("size", [0.0, -1.2, np.nan])
def test_a_spacing_that_is_not_positive(save: Save, size: float) -> None:
    path = save("a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    patch_header(path, 88, struct.pack("<f", size))
    check_refused(path, "voxel spacing", "not positive")


def test_two_voxel_sizes_in_one_header(save: Save) -> None:
    path = save("a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    patch_header(path, 88, struct.pack("<f", 5.0))
    check_refused(path, "two voxel sizes", "0.8 x 0.7 x 5 and 0.8 x 0.7 x 1.2 mm")


def test_lengths_that_are_not_millimetres(save: Save) -> None:
    path = save("a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    patch_header(path, 123, bytes([3]))
    check_refused(path, "lengths in micrometres", "millimetres")
    patch_header(path, 123, bytes([7]))
    check_refused(path, "a unit that is not known")


def test_colours_and_complex_numbers(save: Save) -> None:
    check_refused(save("c.nii.gz", np.ones((2, 2, 2), np.complex64)), "complex64 values")
    colours = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    check_refused(save("rgb.nii.gz", colours), "one grey value")


def test_five_dimensions(save: Save) -> None:
    check_refused(save("a.nii.gz", np.arange(32).reshape(2, 2, 2, 2, 2).astype(np.int16)), "(2, 2, 2, 2, 2)")


# --- a real examination


@pytest.mark.realdata
def test_a_real_examination(data: Path) -> None:
    case = read_case(data / "duke_153" / "native_crop")
    assert (case.name, case.images.shape) == ("duke_153", (5, 88, 240, 224))
    assert case.geometry.spacing == pytest.approx((1.1, 0.759, 0.759), abs=1e-3)
    assert case.times == (-1371.1, 0.0, 121.4, 244.1, 365.6)


@pytest.mark.realdata
def test_both_crops_of_a_real_examination_lie_at_the_same_place(data: Path) -> None:
    """The tumour's centre in patient coordinates does not depend on the crop: every axis points where it should."""
    from napari_breastseg import read_mask
    from napari_breastseg.io.orientation import canonical_affine

    centres = []
    for crop in ("native_crop", "fullfov_half"):
        case = read_case(data / "duke_153" / crop)
        mask = read_mask(data / "duke_153" / crop / "duke_153_tumour_semiauto.nii.gz", case)
        z, y, x = np.argwhere(mask).mean(axis=0)
        centres.append(canonical_affine(case.geometry) @ (x, y, z, 1))
    np.testing.assert_allclose(centres[0], centres[1], atol=1.5)


def test_what_may_name_the_patient_is_left_behind_and_listed(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), np.diag([1.0, 1, 1, 1]))
    image.header["descrip"] = b"Jane Doe 1961"
    image.header["db_name"] = b"DOE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Jane Doe"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(44, b"Jane Doe"))
    nib.save(image, tmp_path / "x.nii.gz")
    case = read_case(tmp_path / "x.nii.gz")
    assert case.metadata["identifiers_dropped"] == ("descrip", "db_name", "extension MRS", "extension comment")
    with Session.create(tmp_path / "session") as session:
        session.export(session.add_case(case), tmp_path / "out", ome_zarr=True)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "x.nii.gz")
    assert b"Doe" not in kept and b"DOE" not in kept and b"identifiers_dropped" in kept
    assert read_case(write_plain(tmp_path)).metadata["identifiers_dropped"] == ()


def write_plain(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), np.eye(4)), folder / "plain.nii")
    return folder / "plain.nii"
