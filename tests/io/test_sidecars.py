from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_breastseg import read_case
from napari_breastseg.errors import InputError
from napari_breastseg.io.image_files import image_geometry
from napari_breastseg.io.listing import list_cases


def put(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def test_without_a_sidecar_the_times_are_unknown(series: Path) -> None:
    assert read_case(series).times == ()


@pytest.mark.parametrize("key", ["times", "acquisition_times", "seconds_since_first_post"])
@pytest.mark.parametrize("name", ["case_1.json", "times.json", "meta.json", "../times.json", "../meta.json"])
def test_times_from_a_sidecar(series: Path, name: str, key: str) -> None:
    put(series / name, {"other": 1, key: [-60, 0, 61.5, 120]})
    assert read_case(series).times == (-60.0, 0.0, 61.5, 120.0)


def test_a_bare_list_will_do(series: Path) -> None:
    put(series / "times.json", [0, 90, 180, 270])
    assert read_case(series).times == (0.0, 90.0, 180.0, 270.0)


def test_the_nearest_sidecar_wins_and_one_without_times_is_passed_over(series: Path) -> None:
    put(series / "../case_1.json", {"times": [0, 1, 2, 3]})
    put(series / "times.json", {"times": [0, 90, 180, 270]})
    put(series / "case_1.json", {"scanner": "any"})
    assert read_case(series).times == (0.0, 90.0, 180.0, 270.0)


def test_times_given_by_the_person_win(series: Path) -> None:
    put(series / "times.json", [0, 90, 180, 270])
    assert read_case(series, times=[0, 1, 2, 3]).times == (0.0, 1.0, 2.0, 3.0)
    assert read_case(series, times=()).times == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "no readable JSON"),
        ('{"times": "soon"}', "no list of numbers"),
        ('{"times": [0, null, 2, 3]}', "no list of numbers"),
        ('{"times": [0, true, 2, 3]}', "no list of numbers"),
        ('{"times": [0, NaN, 2, 3]}', "no list of numbers"),
        ('{"times": [0, 90, 180]}', "3 phase times were given for 4 phases"),
        ('{"times": [0, 90, 80, 270]}', "do not increase"),
    ],
)
def test_times_that_cannot_be_used_are_refused(series: Path, content: str, expected: str) -> None:
    (series / "times.json").write_text(content)
    with pytest.raises(InputError, match=expected):
        read_case(series)


def test_times_given_by_the_person_must_fit(series: Path) -> None:
    with pytest.raises(InputError, match="2 phase times were given for 4 phases"):
        read_case(series, times=[0, 1])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(folder / "a.png")
    return folder / "a.png"


def test_without_a_sidecar_scale_and_kind_of_an_image_are_unknown(picture: Path) -> None:
    case = read_case(picture)
    assert (case.geometry.unit, case.geometry.spacing, case.modality) == ("pixel", (1.0, 1.0, 1.0), "image")


@pytest.mark.parametrize("name", ["a.json", "meta.json", "../meta.json"])
@pytest.mark.parametrize(("word", "modality"), [("US", "ultrasound"), ("MG", "mammography")])
def test_scale_and_kind_of_an_image_from_a_sidecar(picture: Path, name: str, word: str, modality: str) -> None:
    put(picture.parent / name, {"PixelSpacing": [0.07, 0.1], "Modality": word})
    case = read_case(picture)
    assert (case.geometry.unit, case.geometry.spacing, case.modality) == ("mm", (1.0, 0.07, 0.1), modality)
    assert image_geometry(picture).spacing == case.geometry.spacing
    np.testing.assert_allclose(np.diag(case.geometry.affine), [-0.1, -0.07, 1, 1])
    (listed,) = list_cases(picture.parent).cases
    assert listed.modality() == modality


def test_an_images_own_sidecar_wins_and_may_tell_a_part(picture: Path) -> None:
    put(picture.parent / "meta.json", {"PixelSpacing": [1, 1], "Modality": "MG"})
    put(picture.parent / "a.json", {"PixelSpacing": [0.2, 0.2]})
    case = read_case(picture)
    assert (case.geometry.spacing, case.modality) == ((1.0, 0.2, 0.2), "mammography")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "no readable JSON"),
        ('{"PixelSpacing": 0.1}', "no pair of positive numbers"),
        ('{"PixelSpacing": [0.1]}', "no pair of positive numbers"),
        ('{"PixelSpacing": [0.1, 0]}', "no pair of positive numbers"),
        ('{"PixelSpacing": [0.1, NaN]}', "no pair of positive numbers"),
        ('{"PixelSpacing": [0.1, true]}', "no pair of positive numbers"),
        ('{"Modality": "CT"}', "Give one of US, MG"),
        ('{"Modality": ["US"]}', "Give one of US, MG"),
    ],
)
def test_scale_and_kind_that_cannot_be_used_are_refused(picture: Path, content: str, expected: str) -> None:
    (picture.parent / "a.json").write_text(content)
    with pytest.raises(InputError, match=expected):
        read_case(picture)
