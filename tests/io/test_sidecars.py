from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_breastseg import read_case
from napari_breastseg.errors import InputError


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
