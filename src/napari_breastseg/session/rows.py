"""The values that go into a session and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box

MarkKind: TypeAlias = Literal["slice-reviewed", "case-done"]


@dataclass(frozen=True)
class Edit:
    """What the person changed with one stroke, fill or erase.

    Parameters
    ----------
    box : Box
        Half-open index ranges (z, y, x) within the case.
    mask : ndarray of bool, shape of the box
        The voxels that were touched.
    value : int or ndarray of uint8, shape of the box
        What they become: 0 background, 1 tumour, 255 undecided; of an array only the voxels in `mask` count.
    tool : str
        What made the edit, for people: ``"brush"``, ``"eraser"``, ``"fill"``.
    base : int
        :meth:`Session.seq` of the case when the edit was made.
    """

    box: Box
    mask: npt.NDArray[np.bool_]
    value: int | npt.NDArray[np.uint8]
    tool: str
    base: int


@dataclass(frozen=True)
class Change:
    """What an undo or redo changed: the new seq and the box whose labels to draw again."""

    seq: int
    box: Box
    undoes: int


@dataclass(frozen=True)
class EditRow:
    """One edit in the journal of a case; `undoes` is the seq of the edit that it takes back. Times are ISO 8601 in UTC."""

    seq: int
    time: str
    tool: str
    box: Box
    voxels: int
    undoes: int | None


@dataclass(frozen=True)
class MarkRow:
    """One "slice reviewed" or "case done", made when the annotation stood at `seq`."""

    id: int
    time: str
    what: MarkKind
    value: Any
    seq: int


@dataclass(frozen=True)
class PredictionRow:
    """One stored prediction; `model` is the sha256 of the weights."""

    id: int
    model: str
    time: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class ModelRow:
    """One stored model; `adopted` tells whether it is or was the current one."""

    sha: str
    parent: str | None
    time: str
    card: Mapping[str, Any]
    adopted: bool


@dataclass(frozen=True)
class RoundRow:
    """One learning round: the candidate that it made, and whether and why it was adopted."""

    id: int
    time: str
    case_ids: tuple[str, ...]
    parent: str | None
    candidate: str | None
    adopted: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Any]
    seqs: Mapping[str, int]


@dataclass(frozen=True)
class EventRow:
    """One event in the life of the session, such as ``"created"``, ``"current-model"`` or ``"recovered"``."""

    id: int
    time: str
    kind: str
    details: Mapping[str, Any]
