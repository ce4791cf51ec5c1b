"""What the protocols P1 and P3 run on: examinations with their truth, made or read when their turn comes, and figures over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.evaluation.metrics import bootstrap_interval

Example: TypeAlias = tuple[Case, npt.NDArray[np.uint8]]
"""A case and its reference on the same grid, tumour where not 0."""
Source: TypeAlias = Callable[[], Example]

Row: TypeAlias = Mapping[str, Any]


def summary(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the mean over cases and, of more than one, its 95 % bootstrap interval."""
    known = list(values.values())
    return {"mean": float(np.mean(known)), "ci95": list(bootstrap_interval(known)) if len(known) > 1 else None}


def by_case(rows: Iterable[Row], figure: str) -> dict[str, float]:
    """Return a figure of each case, averaged over its seeds: what lies within a case is not independent."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["case"], []).append(float(row[figure]))
    return {case: float(np.mean(values)) for case, values in found.items()}


def gained(rows: Iterable[Row], than: Iterable[Row], figure: str) -> dict[str, Any]:
    """Return by how much `rows` exceed the rows `than` of the same cases, case by case."""
    ours, theirs = by_case(rows, figure), by_case(than, figure)
    return summary({case: ours[case] - theirs[case] for case in ours})
