"""The manifest and what it offers: menus, reader, writer, sample."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest
from napari.layers import Labels
from npe2 import PluginManifest, io_utils
from npe2._pytest_plugin import TestPluginManager
from npe2.manifest.utils import import_python_name

import napari_breastseg
from napari_breastseg.errors import InputError
from napari_breastseg.widgets import reader, sample, writer
from napari_breastseg.widgets.view import layers

MANIFEST = Path(napari_breastseg.__file__).with_name("napari.yaml")


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_every_command_of_the_manifest_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()  # raises if one is missing
    assert all(callable(import_python_name(command.python_name)) for command in manifest.contributions.commands)


def test_the_menus_are_ones_that_napari_shows(manifest: PluginManifest) -> None:
    from napari._app_model.constants import MenuId

    assert set(manifest.contributions.menus) == {"napari/layers/segment", "napari/layers/measure", "napari/file/io_utilities"}
    assert set(manifest.contributions.menus) <= MenuId.contributables()


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    """A folder with two phases that are stored along other axes than ours."""
    rng = np.random.default_rng(1)
    affine = np.array([[0, 0, 2.0, -5], [1.5, 0, 0, 7], [0, -1.0, 0, 3], [0, 0, 0, 1]])
    for phase in range(2):
        image = nibabel.Nifti1Image(rng.normal(100, 20, (9, 10, 11)).astype(np.float32), affine)
        nibabel.save(image, tmp_path / f"case_{phase:04d}.nii.gz")
    return tmp_path


def test_the_reader_takes_nifti_and_leaves_the_rest(nifti: Path) -> None:
    assert reader.get_reader(str(nifti)) is not None
    assert reader.get_reader(str(nifti / "case_0000.nii.gz")) is not None
    assert reader.get_reader(str(nifti / "picture.png")) is None
    assert reader.get_reader([str(nifti)]) is None


def test_a_folder_is_read_as_phases_and_a_mask_goes_back_to_its_grid(
    nifti: Path, tmp_path: Path, npe2pm: TestPluginManager, manifest: PluginManifest
) -> None:
    npe2pm.register(manifest)
    (images, attributes, kind), (_, subtraction, _) = reader.read(str(nifti))
    case = attributes["metadata"]["breastseg_case"]
    assert (kind, images.shape, case.phases) == ("image", (2, *case.shape), 2)
    assert subtraction["visible"] is False
    mask = np.zeros(case.shape, np.uint8)
    mask[1, 2, 3] = 1
    layer = layers.tumour_layer(mask, case.geometry, {})
    target = tmp_path / "out" / "tumour.nii.gz"
    target.parent.mkdir()
    assert io_utils.write(str(target), [layer.as_layer_data_tuple()], plugin_name="napari-breastseg") == [str(target)]
    first, written = nibabel.load(nifti / "case_0000.nii.gz"), nibabel.load(target)
    assert written.shape == first.shape
    assert np.allclose(written.affine, first.affine)
    assert np.asarray(written.dataobj).sum() == 1


def test_a_labels_layer_without_an_examination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="belongs to no breast examination"):
        writer.write_tumour(str(tmp_path / "x.nii.gz"), np.zeros((3, 3, 3), np.uint8), {"metadata": {}})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path, notices: list[str]) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    assert reader.read(str(tmp_path / "bad.nii.gz")) == [(None,)]
    assert len(notices) == 1
    assert "Traceback" not in notices[0]


@pytest.mark.parametrize(("make", "modality"), [("ultrasound_phantom", "ultrasound"), ("mammogram_phantom", "mammography")])
def test_the_samples_of_images_show_one_mass(make: str, modality: str) -> None:
    ((images, attributes, kind),) = getattr(sample, make)()
    case = attributes["metadata"]["breastseg_case"]
    assert (kind, case.modality, case.flat) == ("image", modality, True)
    assert attributes["metadata"]["breastseg_truth"].shape == images.shape[1:]
    assert attributes["metadata"]["breastseg_truth"].any()


def test_the_sample_is_a_case_with_its_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    make = sample.make_phantom
    monkeypatch.setattr(sample, "make_phantom", lambda seed, **options: make(seed, shape=(24, 32, 32), phases=3, **options))
    (images, attributes, kind), _ = sample.dce_mri_phantom()
    assert (kind, images.shape) == ("image", (3, 24, 32, 32))
    assert attributes["metadata"]["breastseg_truth"].shape == (24, 32, 32)


def test_an_image_of_another_reader_becomes_a_case_in_mm() -> None:
    from napari.layers import Image

    layer = Image(np.ones((2, 4, 5, 6), np.float32), scale=(1, 1000, 500, 500), units=("pixel", "um", "um", "um"))
    case = layers.case_of(layer)
    assert case.geometry.spacing == (1.0, 0.5, 0.5)
    plain = Image(np.ones((4, 5, 6), np.float32), scale=(2, 1, 1))
    layers.claim(plain, layers.case_of(plain))
    assert [str(unit) for unit in plain.units] == ["millimeter"] * 3
    with pytest.raises(InputError, match="no image of 2 to 4 dimensions"):
        layers.case_of(Labels(np.zeros((4, 5), np.uint8)))


def test_a_single_image_of_another_reader_becomes_a_case_without_scale_unless_it_has_one() -> None:
    from napari.layers import Image

    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (6, 5, 3), np.uint8)
    case = layers.case_of(Image(colours, rgb=True))
    assert (case.images.shape, case.modality, case.geometry.unit, case.geometry.spacing) == ((1, 1, 6, 5), "image", "pixel", (1.0,) * 3)
    luminance = np.asarray(PIL.Image.fromarray(colours).convert("L"), np.float32)
    assert np.abs(case.phase(0)[0] - luminance).max() <= 1  # Pillow rounds
    grey = layers.case_of(Image(np.ones((6, 5), np.uint8), scale=(80, 70), units=("um", "um")))
    assert (grey.geometry.unit, grey.geometry.spacing) == ("mm", pytest.approx((1.0, 0.08, 0.07)))
    (shown, look, _) = layers.case_layers(case)[0]
    assert look["units"][1:] == ("pixel",) * 3 and shown.shape == (1, 1, 6, 5)
