"""What the person says of each case: a journal of edits, the labels that they add up to, and undo that is itself an edit."""

from __future__ import annotations

import logging
import sqlite3
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Box, box_around, slices
from napari_breastseg.errors import InputError, SessionError, StaleEditError
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.disk.packing import pack, pack_mask, unpack, unpack_mask
from napari_breastseg.session.disk.text import from_json, to_json, understood
from napari_breastseg.session.journal import REPAIR, Journal, counter_of, now
from napari_breastseg.session.rows import Change, Edit, EditRow
from napari_breastseg.session.snapshots import Snapshots

CHECKOUT = "back to"
"""The tool of an edit that makes an earlier version the present one, followed by its seq."""
_CACHED_CASES = 4
_ALLOWED = np.isin(np.arange(256), (BACKGROUND, TUMOUR, UNDECIDED))
_log = logging.getLogger(__name__)


@dataclass
class UndoLine:
    """The edits up to `known` that undo and redo would take back, the next one last."""

    known: int = 0
    undo: list[int] = field(default_factory=list)
    redo: list[int] = field(default_factory=list)

    def follow(self, seq: int, undoes: int | None) -> None:
        """Take the row `seq` into account: it undoes the last edit, redoes the last undo, or starts anew and ends the redo line.

        Raises
        ------
        SessionError
            If it undoes another edit.
        """
        if undoes is None:
            self.undo.append(seq)
            self.redo.clear()
        elif self.undo and self.undo[-1] == undoes:
            self.undo.pop()
            self.redo.append(seq)
        elif self.redo and self.redo[-1] == undoes:
            self.redo.pop()
            self.undo.append(seq)
        else:
            raise SessionError(f"Edit {seq} undoes edit {undoes}, which was not the last: the journal is damaged. {REPAIR}")
        self.known = seq


@dataclass
class _State:
    """The annotation of one case in memory as it stands at `seq`."""

    seq: int
    labels: npt.NDArray[np.uint8]
    line: UndoLine = field(default_factory=UndoLine)


class Annotations:
    """The edits of all cases and the annotations of the last few in memory."""

    def __init__(self, root: Path, journal: Journal, cases: Cases) -> None:
        self._journal = journal
        self._cases = cases
        self._states: OrderedDict[str, _State] = OrderedDict()
        self.snapshots = Snapshots(root, journal, cases)

    def seq(self, case_id: str) -> int:
        """Return the number of the case's last edit, 0 before the first."""
        self._cases.row(case_id)
        return self._last(case_id)

    def _last(self, case_id: str) -> int:
        found = self._journal.head(counter_of("edit", case_id))
        if found is None:
            self._cases.row(case_id)
            raise SessionError(f"It has vanished how many edits {case_id} has. {REPAIR}")
        return int(found)

    def record(self, case_id: str, edit: Edit) -> int:
        """Append an edit; see :meth:`Session.record`."""
        with self._journal.lock:
            with self._journal.transaction("The edit"):
                state = self._current(case_id)
                box, mask, new = _checked(edit, state.labels.shape)
                if edit.base != state.seq:
                    raise StaleEditError(
                        f"The edit was made on version {edit.base} of the annotation, which stands at {state.seq} by now. "
                        "Reload it and edit again."
                    )
                old = state.labels[slices(box)][mask]
                seq = self._append(case_id, box, mask, new, old, edit.tool, edit.base, None)
            self._applied(case_id, state, box, mask, new, seq, None)
        return seq

    def undo(self, case_id: str) -> Change | None:
        """Take the last edit back; see :meth:`Session.undo`."""
        return self._invert(case_id, "undo")

    def redo(self, case_id: str) -> Change | None:
        """Take the last undo back; see :meth:`Session.redo`."""
        return self._invert(case_id, "redo")

    def _invert(self, case_id: str, which: str) -> Change | None:
        with self._journal.lock:
            with self._journal.transaction(f"The {which}"):
                state = self._current(case_id)
                self._follow_all(case_id, state)
                stack = state.line.undo if which == "undo" else state.line.redo
                if not stack:
                    return None
                target = self._journal.rows("edit", "case_id=? AND seq=?", (case_id, stack[-1]))[0]
                box, mask, new, old = unpacked(target, state.labels.shape)
                if not np.array_equal(state.labels[slices(box)][mask], new):
                    raise SessionError(f"The journal around edit {target['seq']} does not fit together. Run `napari-breastseg verify`.")
                seq = self._append(case_id, box, mask, old, new, which, state.seq, target["seq"])
            self._applied(case_id, state, box, mask, old, seq, target["seq"])
        return Change(seq=seq, box=box, undoes=target["seq"])

    def checkout(self, case_id: str, seq: int) -> Change | None:
        """Make the version `seq` the present one by a new edit; see :meth:`Session.checkout`."""
        with self._journal.lock:
            wanted = self.at(case_id, seq)
            labels = self._current(case_id).labels
            box = box_around(labels != wanted)
            if box is None:
                return None
            place = slices(box)
            edit = Edit(box, labels[place] != wanted[place], wanted[place], f"{CHECKOUT} {seq}", self.seq(case_id))
            return Change(seq=self.record(case_id, edit), box=box, undoes=None)

    def at(self, case_id: str, seq: int | None) -> npt.NDArray[np.uint8]:
        """Return the annotation as it stood at `seq`, or as it stands now."""
        with self._journal.lock:
            last = self.seq(case_id)
            if seq is None or seq == last:
                return self._current(case_id).labels.copy()
        if not 0 <= seq <= last:
            raise InputError(f"The annotation of {case_id} has the versions 0 to {last}; {seq} is not one of them.")
        return self._rebuilt(case_id, seq).labels  # without the lock: what is past does not change, and strokes need not wait

    def edits(self, case_id: str, after: int = 0) -> list[EditRow]:
        """Return the edits of a case that followed the one with the number `after`, oldest first."""
        last = self.seq(case_id)
        found = self._journal.rows("edit", "case_id=? AND seq>? AND seq<=?", (case_id, after, last))
        if [row["seq"] for row in found] != list(range(after + 1, last + 1)):
            raise SessionError(f"Edits of {case_id} have vanished. {REPAIR}")
        return [EditRow(row["seq"], row["time"], row["tool"], box_of(row["box"]), row["voxels"], row["undoes"]) for row in found]

    def forget(self) -> None:
        """Read everything anew from the disk when it is asked for next."""
        with self._journal.lock:
            self._states.clear()

    def snapshot(self, case_id: str) -> int:
        """Store the annotation as a label snapshot now and return its seq."""
        self._journal.writable()
        with self._journal.lock:
            seq = self.seq(case_id)
            labels = self.at(case_id, seq)
        self.snapshots.write(case_id, seq, labels)
        return seq

    def _current(self, case_id: str) -> _State:
        """Return the case's state in memory, brought up to date with the journal."""
        last = self._last(case_id)
        state = self._states.get(case_id)
        if state is None:
            ((count,),) = self._journal.light("SELECT count(*) FROM edit NOT INDEXED WHERE case_id=?", (case_id,))
            if count != last:
                raise SessionError(f"{case_id} has {count} edits in the journal, but {last} were written. {REPAIR}")
            state = self._states[case_id] = self._rebuilt(case_id, last)
            while len(self._states) > _CACHED_CASES:
                self._states.popitem(last=False)
        elif state.seq != last:
            self._replay(case_id, state, last)
        self._states.move_to_end(case_id)
        return state

    def _rebuilt(self, case_id: str, at: int) -> _State:
        seq, labels = self.snapshots.newest(case_id, at)
        state = _State(seq, labels)
        self._replay(case_id, state, at)
        return state

    def _replay(self, case_id: str, state: _State, until: int) -> None:
        for row in self._journal.rows("edit", "case_id=? AND seq>? AND seq<=?", (case_id, state.seq, until)):
            if row["seq"] != state.seq + 1:
                break
            replay(row, state.labels)
            state.seq = row["seq"]
        if state.seq != until:
            raise SessionError(f"Edit {state.seq + 1} of {case_id} has vanished from the journal. Restore the session from a backup.")

    def _follow_all(self, case_id: str, state: _State) -> None:
        query = "SELECT seq, undoes FROM edit WHERE case_id=? AND seq>? ORDER BY seq"
        for seq, undoes in self._journal.light(query, (case_id, state.line.known)):
            state.line.follow(seq, undoes)

    def _append(
        self,
        case_id: str,
        box: Box,
        mask: npt.NDArray[np.bool_],
        new: npt.NDArray[np.uint8],
        old: npt.NDArray[np.uint8],
        tool: str,
        base: int,
        undoes: int | None,
    ) -> int:
        return self._journal.append(
            "edit",
            case_id,
            case_id=case_id,
            time=now(),
            tool=tool,
            box=to_json(box, "The edit"),
            voxels=int(new.size),
            mask=pack_mask(mask),
            new=pack(new),
            old=pack(old),
            base=base,
            undoes=undoes,
        )

    def _applied(
        self, case_id: str, state: _State, box: Box, mask: npt.NDArray[np.bool_], new: npt.NDArray[np.uint8], seq: int, undoes: int | None
    ) -> None:
        """Bring the memory up to what has just become durable; nothing after the commit may make it look refused."""
        state.labels[slices(box)][mask] = new
        state.seq = seq
        try:
            if state.line.known == seq - 1:
                state.line.follow(seq, undoes)
            if self.snapshots.due(case_id, seq):
                self.snapshots.write_in_background(case_id, seq, state.labels.copy())
        except (SessionError, MemoryError, RuntimeError) as error:
            _log.warning("No label snapshot was made (%s). The edit is saved.", error)


def replay(row: sqlite3.Row, labels: npt.NDArray[np.uint8], *, check: bool = False) -> bool:
    """Apply an edit's row to `labels` in place; with `check`, tell whether the old values were the ones that the row names."""
    box, mask, new, old = unpacked(row, labels.shape)
    part = labels[slices(box)]
    fits = not check or np.array_equal(part[mask], old)
    part[mask] = new
    return fits


def unpacked(row: sqlite3.Row, shape: tuple[int, ...]) -> tuple[Box, npt.NDArray[np.bool_], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return an edit's box, mask, new and old values.

    Raises
    ------
    SessionError
        If the box does not lie within the case's `shape`, or the values are not those of an annotation.
    """
    box = box_of(row["box"])
    what = f"Edit {row['seq']} of {row['case_id']}"
    with understood(what):
        if any(not 0 <= start < stop <= n for (start, stop), n in zip(box, shape, strict=True)):
            raise ValueError("outside the case")
        mask = unpack_mask(row["mask"], tuple(stop - start for start, stop in box))
        voxels = int(np.count_nonzero(mask))
        new, old = unpack(row["new"], voxels), unpack(row["old"], voxels)
        if not _ALLOWED[new].all() or not _ALLOWED[old].all():
            raise ValueError("no labels of an annotation")
        return box, mask, new, old


def box_of(text: str) -> Box:
    """Return the box of an edit's row."""
    found = from_json(text, "The box of an edit")
    with understood("The box of an edit"):
        (z0, z1), (y0, y1), (x0, x1) = ((int(start), int(stop)) for start, stop in found)
        return (z0, z1), (y0, y1), (x0, x1)


def _checked(edit: Edit, shape: tuple[int, ...]) -> tuple[Box, npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Return the edit's box, mask and the new values of its voxels, or say why it cannot be one of this case."""
    extent = tuple(int(stop) - int(start) for start, stop in edit.box)
    if len(extent) != 3 or any(not 0 <= start < stop <= n for (start, stop), n in zip(edit.box, shape, strict=True)):
        raise InputError(f"The edit's box {edit.box} does not lie within the case's grid {shape}. Draw inside the image.")
    mask = np.asarray(edit.mask, dtype=bool)
    if mask.shape != extent:
        raise InputError(f"The edit's mask has shape {mask.shape}, its box {extent}. Give one value per voxel of the box.")
    if not mask.any():
        raise InputError("The edit covers no voxel. Draw on at least one.")
    values = np.asarray(edit.value)
    if values.ndim and values.shape != extent:
        raise InputError(f"The edit's values have shape {values.shape}, its box {extent}. Give one value per voxel of the box.")
    new = values[mask] if values.ndim else values.reshape(1)
    if not np.isin(new, (BACKGROUND, TUMOUR, UNDECIDED)).all():
        raise InputError("An annotation knows only 0 (background), 1 (tumour) and 255 (undecided). Give the edit one of these values.")
    (z0, z1), (y0, y1), (x0, x1) = edit.box
    box: Box = ((int(z0), int(z1)), (int(y0), int(y1)), (int(x0), int(x1)))
    return box, mask, np.broadcast_to(new.astype(np.uint8), (int(np.count_nonzero(mask)),))
