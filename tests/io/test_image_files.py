"""Image files: what becomes of colours, depths and transparency, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.io.cohort import find_cases

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def test_an_image_is_an_ultrasound_case_of_one_slice(tmp_path: Path) -> None:
    case = read_case(saved(tmp_path / "a.png", GREY))
    assert (case.modality, case.images.shape, case.geometry.spacing) == ("image", (1, 1, 20, 30), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(case.phase(0)[0], GREY)


def test_grey_is_the_same_in_every_disguise(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)
    transparent = np.zeros_like(GREY)
    for name, array in {
        "rgb": np.stack([GREY] * 3, -1),
        "rgba": np.stack([GREY] * 3 + [opaque], -1),
        "clear": np.stack([GREY] * 3 + [transparent], -1),
    }.items():
        np.testing.assert_array_equal(read_case(saved(tmp_path / f"{name}.png", array)).phase(0)[0], GREY)
    palette = Image.fromarray(GREY).convert("P")
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_case(tmp_path / "palette.png").phase(0)[0], GREY)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_pixels_keep_their_depth(tmp_path: Path, dtype: type) -> None:
    deep = (GREY.astype(dtype) * 200).astype(dtype)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    np.testing.assert_array_equal(read_case(tmp_path / "deep.tif").phase(0)[0], deep)


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[:2, :, 1] = 200
    assert read_case(saved(tmp_path / "c.png", colour)).phase(0)[0, 0, 0] == round(200 * 0.587)


def test_identifying_text_stays_behind(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("PatientName", "Doe")
    case = read_case(saved(tmp_path / "a.png", GREY, pnginfo=info))
    assert "Doe" not in repr(case.metadata)


def bomb(path: Path, edge: int) -> Path:
    """Write a small PNG file that promises so many pixels."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99)), b"IEND")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_refusals(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.png", GREY).read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GREY, GREY]), photometric="minisblack")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    for name, words in {
        "short.png": "cut short or damaged",
        "text.png": "cannot be read as PNG, JPEG or TIFF",
        "pages.tif": "holds 2 pages",
        "nan.tif": "no number",
        saved(tmp_path / "constant.png", np.full((4, 4), 7, np.uint8)).name: "is empty",
        bomb(tmp_path / "large.png", 9_000).name: "million pixels",
        bomb(tmp_path / "larger.png", 12_000).name: "million pixels",
        bomb(tmp_path / "largest.png", 60_000).name: "million pixels",
    }.items():
        with pytest.raises(InputError, match=words):
            read_case(tmp_path / name)
    with pytest.raises(InputError, match="Leave the phase times out"):
        read_case(tmp_path / "whole.png", [0.0])


def test_masks(tmp_path: Path) -> None:
    case = read_case(saved(tmp_path / "a.png", GREY))
    tumour = GREY > 128
    mask = read_mask(saved(tmp_path / "m.png", tumour.astype(np.uint8) * 255), case)
    np.testing.assert_array_equal(mask[0], tumour)
    with pytest.raises(InputError, match="not on the grid"):
        read_mask(saved(tmp_path / "small.png", tumour[:-1].astype(np.uint8)), case)
    with pytest.raises(InputError, match="one other value"):
        read_mask(saved(tmp_path / "grey.png", GREY), case)


def test_a_cohort_of_images(tmp_path: Path) -> None:
    for folder in ("benign", "malignant"):
        for kind in ("images", "masks"):
            (tmp_path / folder / kind).mkdir(parents=True)
        saved(tmp_path / folder / "images" / f"{folder}_1.jpg", GREY)
        saved(tmp_path / folder / "masks" / f"{folder}_1.png", np.zeros_like(GREY))
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == ["benign_1", "malignant_1"]
    cases[0].check()
    case, mask = cases[0].read()
    assert case.shape == mask.shape
    assert cases[0].fingerprint() != cases[1].fingerprint()
    saved(tmp_path / "benign" / "images" / "malignant_1.png", GREY)
    saved(tmp_path / "benign" / "masks" / "malignant_1.png", np.zeros_like(GREY))
    with pytest.raises(InputError, match="the same name"):
        find_cases(tmp_path)
    (tmp_path / "benign" / "masks" / "benign_1.png").unlink()
    with pytest.raises(InputError, match="has 0 masks"):
        find_cases(tmp_path)
