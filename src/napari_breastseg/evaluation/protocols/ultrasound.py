"""BUSI as the material of streams: breast ultrasound with experts' masks (Al-Dhabyani et al. 2020), one fold held out at a time.

BUSI repeats many of its images (see the column ``dup_group`` of its index), so one image stands for each group of near-duplicates, and no
group is split between what is trained on, corrected and judged on. There are no patient ids: folds are free of near-duplicates, not proven
to be of different patients.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols.material import Examination, Material
from napari_breastseg.io.cohort import LabelledCase, find_cases

INDEX = "index.csv"
TRAINED, BASE_CASES, SHIFTED_CASES = 100, 20, 20
"""Images of the other folds that the base model learns from, so few that much is left to learn; images of the fixed sets."""


@dataclass(frozen=True)
class Fold:
    """Images with a lesion, in an order that is always the same; of a group of near-duplicates there is one.

    Attributes
    ----------
    trained, base : sequence of LabelledCase
        Of the other folds: what the base model learns from, and what it is judged on to see what is forgotten.
    shifted, stream : sequence of LabelledCase
        Of the fold that is held out: what nobody corrects, and what is corrected one after another.
    """

    trained: Sequence[LabelledCase]
    base: Sequence[LabelledCase]
    shifted: Sequence[LabelledCase]
    stream: Sequence[LabelledCase]


def busi_fold(folder: Path, held_out: int) -> Fold:
    """Divide BUSI in `folder`, which holds its index and the images as :func:`~napari_breastseg.io.cohort.find_cases` finds them.

    Raises
    ------
    InputError
        If there is no index, images of it are missing, or there is no such fold.
    """
    path = Path(folder).expanduser() / INDEX
    if not path.is_file():
        raise InputError(f"There is no {path}. Give the folder of BUSI with the table of its folds.")
    cases = {case.name: case for case in find_cases(folder)}
    with path.open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["cls"] != "normal"]
    missing = [row["id"] for row in rows if row["id"] not in cases]
    if missing:
        raise InputError(f"{len(missing)} images of {path} are missing, {missing[0]} among them. Unpack BUSI again.")
    ours: dict[str, LabelledCase] = {}
    others: dict[str, LabelledCase] = {}
    for index in np.random.default_rng(held_out).permutation(len(rows)):
        row = rows[index]
        (ours if int(row["fold"]) == held_out else others).setdefault(row["dup_group"], cases[row["id"]])
    if not ours or not others:
        raise InputError(f"{path} has no fold {held_out} beside others. Choose one of its folds.")
    here, there = list(ours.values()), list(others.values())
    return Fold(there[:TRAINED], there[TRAINED : TRAINED + BASE_CASES], here[:SHIFTED_CASES], here[SHIFTED_CASES:])


def busi_material(fold: Fold) -> Material:
    """Return what a stream runs on; whatever its seed, the images are those of the fold, in its order."""

    def stream(seed: int, cases: int) -> Iterator[Examination]:
        return (_read(case) for case in islice(fold.stream, cases))

    return Material(stream, lambda: {"base": [_read(case) for case in fold.base], "shifted": [_read(case) for case in fold.shifted]})


def _read(case: LabelledCase) -> Examination:
    return Examination(*case.read())
