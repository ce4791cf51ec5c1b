"""The values that go into a session and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import REFINED_WITH, Box

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
    """What an undo, a redo or a checkout changed: the new seq, the box whose labels to draw again, and the edit that it took back."""

    seq: int
    box: Box
    undoes: int | None


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
    """One stored prediction; `model` is the sha256 of the weights, `seq` where the annotation stood."""

    id: int
    model: str
    time: str
    details: Mapping[str, Any]
    seq: int

    @property
    def refined(self) -> bool:
        """Whether it is what the model says together with the strokes, not what it says alone."""
        return REFINED_WITH in self.details


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


@dataclass(frozen=True)
class Version:
    """A state of a case's mask: a prediction with the annotation laid over it.

    Parameters
    ----------
    seq : int
        Where the annotation stands: the number of its last edit, 0 before the first.
    prediction : int or None
        The number of the prediction, None for none.
    """

    seq: int
    prediction: int | None


@dataclass(frozen=True)
class Moment:
    """One entry of a case's timeline: a run of edits, or something else that happened.

    Parameters
    ----------
    kind : str
        ``"edits"``, ``"prediction"``, ``"mark"``, ``"round"``, ``"current-model"`` or ``"recovered"``.
    time, until : str
        When it began and ended, ISO 8601 in UTC.
    before, version : Version
        The case as it stood before and after it.
    what : str
        What happened, for people, as plain text.
    box : Box or None
        Around what the edits touched.
    voxels : int
        How many voxels the edits touched, one counted again for each edit.
    model : str or None
        sha256 of the model that predicted, was learned, or became current.
    """

    kind: Literal["edits", "prediction", "mark", "round", "current-model", "recovered"]
    time: str
    until: str
    before: Version
    version: Version
    what: str
    box: Box | None = None
    voxels: int = 0
    model: str | None = None


@dataclass(frozen=True)
class Share:
    """Where some of the voxels that differ between two versions come from in the second one.

    Parameters
    ----------
    kind : str
        ``"edit"``, ``"prediction"``, ``"refinement"`` (a prediction that followed strokes), ``"done"`` where the case is done and nobody
        painted, or ``"nothing"`` where neither says anything.
    number : int
        The seq of the edit, or the number of the prediction or the mark.
    time : str
        When it was made, ISO 8601 in UTC.
    by : str
        The edit's tool, the sha256 of the model, or what was marked.
    added, removed : int
        Voxels that became tumour, and that stopped being tumour.
    """

    kind: Literal["edit", "prediction", "refinement", "done", "nothing"]
    number: int
    time: str
    by: str
    added: int
    removed: int


@dataclass(frozen=True)
class Comparison:
    """What differs between the masks of two versions of a case.

    Parameters
    ----------
    first, second : Version
    box : Box or None
        The smallest box around what differs, None if nothing does.
    before, after : ndarray, uint8
        The masks of the two versions within the box: 0 background, 1 tumour.
    shares : tuple of Share
        Where the differing voxels come from, oldest first; each voxel counts once.
    """

    first: Version
    second: Version
    box: Box | None
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    shares: tuple[Share, ...]
