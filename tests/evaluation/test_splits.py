"""Splits: no patient on both sides, every patient tested on, drawn once and never again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.splits import SplitPlan, draw_splits, keep_splits, patient_of, patients_of

CASES = [f"P{patient:02d}_visit{visit}" for patient in range(10) for visit in (1, 2)]
DATA = {case: f"digest of {case}" for case in CASES}
BY_PATIENT = SplitPlan(patient=r"^[^_]+")


def patients(cases: object) -> set[str]:
    return {case[:3] for case in cases}  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.34, 1.0])
def test_a_share_of_the_patients_is_tested_on(share: float) -> None:
    (split,) = draw_splits(CASES, SplitPlan(test_share=share, patient=r"^[^_]+"))
    assert sorted([*split.training, *split.test]) == CASES
    assert not patients(split.training) & patients(split.test)
    assert len(patients(split.test)) == min(max(round(share * 10), 1), 9)


def test_folds_test_every_patient_once() -> None:
    splits = draw_splits(CASES, SplitPlan(folds=4, patient=r"^[^_]+"))
    assert sorted(case for split in splits for case in split.test) == CASES
    for split in splits:
        assert sorted([*split.training, *split.test]) == CASES
        assert not patients(split.training) & patients(split.test)
        assert 2 <= len(patients(split.test)) <= 3


def test_the_seed_decides_and_the_order_of_the_names_does_not() -> None:
    names = [f"DUKE_{i:03d}" for i in range(40)]
    one, same, other = (draw_splits(n, SplitPlan(seed=s)) for n, s in ((names, 0), (names[::-1], 0), (names, 1)))
    assert one == same
    assert one[0].test != other[0].test
    assert len(one[0].test) == 8  # without a pattern every case is a patient of its own


def test_views_of_one_patient_stay_together() -> None:
    views = [f"P_{number:05d}_{side}_{view}" for number in range(20) for side in ("LEFT", "RIGHT") for view in ("CC", "MLO")]
    for split in draw_splits(views, SplitPlan(folds=4)):
        assert len(split.test) == 20
        assert not {name[:7] for name in split.training} & {name[:7] for name in split.test}


def test_a_split_is_kept_and_never_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "out" / "split.json"
    drawn = keep_splits(path, DATA, BY_PATIENT)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert keep_splits(path, dict(reversed(DATA.items())), BY_PATIENT) == drawn
    for cases, plan, what in (
        (dict(list(DATA.items())[:-2]), BY_PATIENT, r"other cases \(P09_visit1, P09_visit2\)"),
        (DATA | {"P03_visit1": "a corrected mask"}, BY_PATIENT, r"other cases \(P03_visit1\)"),
        (DATA, SplitPlan(patient=r"^[^_]+", seed=1), "other seed,"),
        (DATA, SplitPlan(patient=r"^[^_]+", test_share=0.5, folds=2), "other test_share and folds"),
    ):
        with pytest.raises(InputError, match=what):
            keep_splits(path, cases, plan)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"1 patient\(s\) cannot be divided"):
        draw_splits(CASES[:2], BY_PATIENT)
    with pytest.raises(InputError, match="11 are needed"):
        draw_splits(CASES, SplitPlan(folds=11, patient=r"^[^_]+"))
    with pytest.raises(InputError, match="no regular expression"):
        patient_of("a", "(")
    for pattern in ("x+", "x*"):
        with pytest.raises(InputError, match="matches nothing in the name of case"):
            patient_of("case", pattern)


def a_table(folder: Path, text: str) -> SplitPlan:
    path = folder / "folds.csv"
    path.write_text(text)
    return SplitPlan(table=str(path))


def test_a_table_gives_the_folds_and_what_belongs_together(tmp_path: Path) -> None:
    plan = a_table(tmp_path, "id,dup_group,fold\na,1,0\nb,1,0\nc,2,1\nd,3,2\nof another folder,4,3\n")
    splits = draw_splits(["d", "c", "b", "a"], plan)
    assert [(split.training, split.test) for split in splits] == [
        (["c", "d"], ["a", "b"]),
        (["a", "b", "d"], ["c"]),
        (["a", "b", "c"], ["d"]),
    ]
    assert patients_of(["a", "b", "c"], plan) == {"a": "1", "b": "1", "c": "2"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,fold\na,0\n", "no id and fold of b and 0 other"),
        ("name,part\na,0\nb,1\n", "no id and fold of a and 1 other"),
        ("id,fold\na,0\nb,0\n", "one fold only"),
        ("id,patient,fold\na,P1,0\nb,P1,1\n", "cases of patient P1 into several folds, b among them"),
    ],
)
def test_a_table_that_does_not_say_it_all_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        draw_splits(["a", "b"], a_table(tmp_path, text))


def test_a_table_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    text = "id,fold\na,0\nb,1\n"
    (tmp_path / "elsewhere").mkdir()
    drawn = keep_splits(tmp_path / "split.json", {"a": "", "b": ""}, a_table(tmp_path, text))
    assert keep_splits(tmp_path / "split.json", {"a": "", "b": ""}, a_table(tmp_path / "elsewhere", text)) == drawn
    with pytest.raises(InputError, match="other table"):
        keep_splits(tmp_path / "split.json", {"a": "", "b": ""}, a_table(tmp_path, text + "c,1\n"))
    with pytest.raises(InputError, match="cannot be read"):
        draw_splits(["a", "b"], SplitPlan(table=str(tmp_path / "missing.csv")))


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a byte order mark, and nothing said of cases that stand alone."""
    plan = a_table(tmp_path, "\ufeffid,patient,fold\na,,0\nb,,1\nc,P1,1\n")
    assert [split.test for split in draw_splits(["a", "b", "c"], plan)] == [["a"], ["b", "c"]]
    assert len(set(patients_of(["a", "b", "c"], plan).values())) == 3


def test_a_split_from_before_there_were_tables_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    drawn = keep_splits(path, DATA, BY_PATIENT)
    kept = json.loads(path.read_text())
    del kept["table"]
    path.write_text(json.dumps(kept))
    assert keep_splits(path, DATA, BY_PATIENT) == drawn
