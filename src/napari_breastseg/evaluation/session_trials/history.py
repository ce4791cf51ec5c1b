"""The plain model of a case's history that a session must equal: every version as a whole array, and two stacks."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED, slices
from napari_breastseg.session import Edit, Session

Labels: TypeAlias = npt.NDArray[np.uint8]
Step: TypeAlias = Edit | int | Literal["undo", "redo"]
"""An edit, the seq of a version to check out, an undo or a redo."""


class History:
    """Every version of one annotation in memory.

    Attributes
    ----------
    versions : list of ndarray
        ``versions[seq]`` is the annotation at `seq`.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.versions: list[Labels] = [np.full(shape, UNDECIDED, np.uint8)]
        self._undos: list[tuple[Labels, Labels]] = []
        self._redos: list[tuple[Labels, Labels]] = []

    @property
    def seq(self) -> int:
        """The number of the last version."""
        return len(self.versions) - 1

    @property
    def labels(self) -> Labels:
        """The last version."""
        return self.versions[-1]

    @property
    def can_undo(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self._undos)

    @property
    def can_redo(self) -> bool:
        """Whether there is anything to redo."""
        return bool(self._redos)

    def record(self, edit: Edit) -> None:
        """Add a version with the edit's voxels changed; ends the redo line."""
        after = self.labels.copy()
        after[slices(edit.box)][edit.mask] = edit.value if isinstance(edit.value, int) else edit.value[edit.mask]
        self._add(after)

    def checkout(self, seq: int) -> bool:
        """Add a version that equals the version `seq`; False, and no version, if the last one does already."""
        if np.array_equal(self.versions[seq], self.labels):
            return False
        self._add(self.versions[seq])
        return True

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        if not self._undos:
            return False
        self._redos.append(self._undos.pop())
        self.versions.append(self._redos[-1][0])
        return True

    def redo(self) -> bool:
        """Take the last undo back; False if there is none."""
        if not self._redos:
            return False
        self._undos.append(self._redos.pop())
        self.versions.append(self._undos[-1][1])
        return True

    def take(self, step: Step) -> bool:
        """Take any step; False if it made no version."""
        match step:
            case Edit():
                self.record(step)
                return True
            case "undo":
                return self.undo()
            case "redo":
                return self.redo()
            case _:
                return self.checkout(step)

    def _add(self, labels: Labels) -> None:
        self._undos.append((self.labels, labels))
        self._redos.clear()
        self.versions.append(labels)


def take(session: Session, case_id: str, step: Step) -> int | None:
    """Take a step in a session and return the new seq, or None if it made no version."""
    match step:
        case Edit():
            return session.record(case_id, step)
        case "undo":
            change = session.undo(case_id)
        case "redo":
            change = session.redo(case_id)
        case _:
            change = session.checkout(case_id, step)
    return None if change is None else change.seq
