"""Training and test parts of a cohort: by patient, drawn once by seed, kept on disk and never drawn again."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.views import patient_in

TOGETHER = ("patient", "group", "dup_group")
"""Columns of a table of folds, the first that there is of them, that say which cases must not be on both sides: of one patient, or near
duplicates."""


@dataclass(frozen=True)
class SplitPlan:
    """How a cohort is divided.

    Parameters
    ----------
    test_share : float
        Share of the patients to test on; without meaning if there are folds.
    folds : int
        0 for one split, else so many, in which every patient is tested on once.
    patient : str
        Regular expression: what it matches in a case's name is the patient. Empty: every case is a patient of its own, but for the views of
        mammography, whose names say the patient, see :func:`~napari_breastseg.io.views.patient_in`.
    seed : int
    table : str
        Path of a CSV file that says it all: a column ``id`` with the names of the cases, a column ``fold`` with the part in which each is
        tested on, and, where several cases belong together, a column called as one of `TOGETHER`. All else is then without meaning.
    """

    test_share: float = 0.2
    folds: int = 0
    patient: str = ""
    seed: int = 0
    table: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the plan, JSON-ready; a table counts by its content, wherever it lies."""
        content = hashlib.sha256(Path(self.table).read_bytes()).hexdigest() if self.table else ""
        return {**asdict(self), "table": content}


@dataclass(frozen=True)
class Split:
    """Names of the cases to train on and to test on."""

    training: Sequence[str]
    test: Sequence[str]


def patient_of(case: str, pattern: str) -> str:
    """Return the patient's part of a case's name.

    Raises
    ------
    InputError
        If the pattern is no regular expression, or matches nothing in the name.
    """
    if not pattern:
        return patient_in(case) or case
    try:
        match = re.search(pattern, case)
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression ({error}). Give one that matches the patient in a case's name.") from error
    if match is None or not match[0]:
        raise InputError(f"{pattern!r} matches nothing in the name of {case}. Give one that matches the patient in every case's name.")
    return match[0]


def patients_of(cases: Sequence[str], plan: SplitPlan) -> dict[str, str]:
    """Return the patient of each case, by the plan's table or else by the cases' names.

    Raises
    ------
    InputError
        If the pattern or the table does not say it.
    """
    if plan.table:
        return {case: row.together for case, row in read_table(Path(plan.table), cases).items()}
    return {case: patient_of(case, plan.patient) for case in sorted(cases)}


@dataclass(frozen=True)
class TableRow:
    """What a table of folds says of a case."""

    fold: str
    together: str


def read_table(path: Path, cases: Sequence[str]) -> dict[str, TableRow]:
    """Read what the table of a :class:`SplitPlan` says of these cases.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column or a case, or tests on cases that belong together in several folds.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as Excel writes it
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table of folds {path} cannot be read. Give a CSV file with columns id and fold.") from error
    known = {row["id"]: row for row in rows if row.get("id") and row.get("fold")}
    missing = sorted(set(cases) - known.keys())
    if missing:
        raise InputError(f"{path} has no id and fold of {missing[0]} and {len(missing) - 1} other case(s). Add them to the table.")
    column = next((name for name in TOGETHER if rows and name in rows[0]), "id")
    found = {case: TableRow(known[case]["fold"], known[case][column] or f"{case} alone") for case in sorted(cases)}
    folds: dict[str, str] = {}
    for case, row in found.items():
        if folds.setdefault(row.together, row.fold) != row.fold:
            raise InputError(f"{path} puts cases of {column} {row.together} into several folds, {case} among them. Keep them together.")
    return found


def draw_splits(cases: Sequence[str], plan: SplitPlan) -> list[Split]:
    """Divide the cases so that no patient is on both sides; the same names and plan give the same splits.

    Raises
    ------
    InputError
        If there are too few patients.
    """
    of = patients_of(cases, plan)
    if plan.table:
        rows = read_table(Path(plan.table), cases)
        folds = sorted({row.fold for row in rows.values()})
        if len(folds) < 2:
            raise InputError(f"{plan.table} names one fold only. Give each case one of several.")
        return [Split([c for c in rows if rows[c].fold != fold], [c for c in rows if rows[c].fold == fold]) for fold in folds]
    patients = sorted(set(of.values()))
    needed = max(2, plan.folds)
    if len(patients) < needed:
        raise InputError(f"{len(patients)} patient(s) cannot be divided into training and test, {needed} are needed. Add cases.")
    shuffled = np.random.default_rng(plan.seed).permutation(patients).tolist()
    if plan.folds:
        tested = [shuffled[fold :: plan.folds] for fold in range(plan.folds)]
    else:
        tested = [shuffled[: min(max(round(plan.test_share * len(patients)), 1), len(patients) - 1)]]
    return [Split([c for c in of if of[c] not in part], [c for c in of if of[c] in part]) for part in tested]


def keep_splits(path: Path, cases: Mapping[str, str], plan: SplitPlan) -> list[Split]:
    """Draw the splits and write them to `path`, or read them from there if they were drawn before.

    Parameters
    ----------
    path : Path
    cases : mapping of str to str
        Name to a fingerprint of the data: what is kept beside the split holds for these data alone.
    plan : SplitPlan

    Raises
    ------
    InputError
        If those in `path` are of other or changed cases, or were drawn by another plan; or if there are too few patients.
    """
    asked = {"cases": dict(sorted(cases.items())), **plan.as_dict()}
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        other = [key for key, value in asked.items() if kept.get(key, "") != value]
        if other:
            names = sorted({name for name, _ in set(kept["cases"].items()) ^ set(cases.items())})
            which = f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""
            raise InputError(
                f"The split in {path} was drawn for other {' and '.join(other)}{which}, and a split is never drawn again. "
                "Choose another --out."
            )
        return [Split(**split) for split in kept["splits"]]
    splits = draw_splits(list(cases), plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({**asked, "splits": [asdict(split) for split in splits]}, indent=1).encode())
    return splits
