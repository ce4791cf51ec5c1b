"""Which corrected voxels train and which are held out for the gate: fixed once for every stroke and case, never drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED, slices
from napari_breastseg.io.views import patient_in
from napari_breastseg.loop.aligned import superseded
from napari_breastseg.loop.approval import CASE_TOOL, SLICE_TOOL
from napari_breastseg.session import Session

Labels = npt.NDArray[np.uint8]

ALWAYS_TRAINED = 2
"""The first strokes of a case train in any case, so that there is something to learn from before anything is kept back."""
FIRST_CASES = 4
"""The first corrected cases of a session train, but for single strokes. Of those that follow, some are kept back whole, as tests."""
_WHOLE = "case"
_NONE, _TRAIN, _HELD_OUT = 0, 1, 2


@dataclass(frozen=True)
class Corrected:
    """The corrections of one case, at the seq of its annotation.

    Parameters
    ----------
    case_id : str
    seq : int
    learn, held_out : ndarray, shape (z, y, x), uint8
        Corrections to train on, and corrections kept for the gate: 0, 1, or 255 elsewhere. No voxel is in both.
    strokes : int
        Edits that are on the training side.
    done : bool
        Whether the person is done with the case.
    kept_back : bool
        Whether the whole case is held out, as all views of its patient are.
    """

    case_id: str
    seq: int
    learn: Labels
    held_out: Labels
    strokes: int
    done: bool
    kept_back: bool

    @property
    def voxels(self) -> int:
        """Corrected voxels to train on."""
        return int(np.count_nonzero(self.learn != UNDECIDED))


class Sides:
    """The side of every corrected voxel of a session's cases.

    A voxel belongs to the first edit that decided it, for ever, whatever is painted over it later; its value is the current one. The edit's
    side follows from its seq by the session's split, or from its case's if that is kept back whole. Since edits are only ever appended, no
    later edit moves a voxel to the other side.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, tuple[int, Labels]] = {}

    def all(self) -> list[Corrected]:
        """Return the corrections of all cases that no aligned one stands for, in the order in which they were first corrected."""
        corrected = [case_id for case_id in self._session.cases if self._session.seq(case_id)]
        doubled = superseded(self._session)
        begun = sorted((self._session.edits(case_id)[0].time, case_id) for case_id in corrected if case_id not in doubled)
        firsts = self._first_views()
        patients: list[str] = []
        found = []
        for _, case_id in begun:
            patients.append(firsts[case_id])
            kept_back = patients.index(firsts[case_id]) >= FIRST_CASES and self._session.split(firsts[case_id], _WHOLE) == "held-out"
            found.append(self._corrected(case_id, kept_back))
        return [one for one in found if one is not None]

    def _first_views(self) -> dict[str, str]:
        """Return for each case the first of its patient in the session, on whose side all views of the patient stand."""
        firsts: dict[str, str] = {}
        patients = {case_id: patient_in(self._session.name(case_id)) or case_id for case_id in self._session.cases}
        return {case_id: firsts.setdefault(patient, case_id) for case_id, patient in patients.items()}

    def _corrected(self, case_id: str, kept_back: bool) -> Corrected | None:
        seq = self._session.seq(case_id)
        sides, strokes = self._sides(case_id, seq, kept_back)
        labels = self._session.annotation(case_id, seq)
        held_out = np.where(sides == _HELD_OUT, labels, UNDECIDED)
        learn = np.where(sides == _HELD_OUT, UNDECIDED, labels)
        if (learn == UNDECIDED).all() and (held_out == UNDECIDED).all():
            return None
        return Corrected(case_id, seq, learn, held_out, strokes, self._session.is_done(case_id, seq), kept_back)

    def _sides(self, case_id: str, seq: int, kept_back: bool) -> tuple[Labels, int]:
        edits = self._session.edits(case_id)[:seq]
        known, sides = self._known.get(case_id, (0, np.full(self._session.annotation(case_id, seq).shape, _NONE, np.uint8)))
        strokes = [edit for edit in edits if edit.undoes is None]
        trained = {
            edit.seq
            for index, edit in enumerate(strokes)
            if not kept_back
            and (index < ALWAYS_TRAINED or edit.tool in (SLICE_TOOL, CASE_TOOL) or self._session.split(case_id, str(edit.seq)) == "train")
        }
        for edit in strokes:
            if edit.seq > known:
                decided = self._session.annotation(case_id, edit.seq)[slices(edit.box)] != UNDECIDED
                part = sides[slices(edit.box)]
                part[decided & (part == _NONE)] = _TRAIN if edit.seq in trained else _HELD_OUT
        self._known[case_id] = (seq, sides)
        return sides, len(trained)
