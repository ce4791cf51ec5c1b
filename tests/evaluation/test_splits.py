"""Splits: no patient on both sides, every patient tested on, drawn once and never again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.splits import SplitPlan, draw_splits, keep_splits, patient_of

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
