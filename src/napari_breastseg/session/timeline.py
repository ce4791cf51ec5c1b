"""Time travel: what happened to a case and when, its mask at any version, and what differs between two of them and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Box, box_around, overlay, slices
from napari_breastseg.session.annotations import CHECKOUT, Annotations, unpacked
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.disk.text import understood
from napari_breastseg.session.journal import Journal
from napari_breastseg.session.marks import events, marks
from napari_breastseg.session.models import CURRENT, Models
from napari_breastseg.session.predictions import Predictions
from napari_breastseg.session.rows import Comparison, EditRow, MarkRow, Moment, RoundRow, Share, Version

Place: TypeAlias = tuple[slice, ...]

RECOVERED = "recovered"
"""The kind of event that tells of a crash."""
_PAUSE = timedelta(minutes=10)
_SAME = timedelta(seconds=1)
_RUN = 50
"""A run of strokes ends with something else, with a pause, or with so many strokes."""


class Timeline:
    """The history of the cases of a session, read from its tables."""

    def __init__(self, journal: Journal, cases: Cases, annotations: Annotations, predictions: Predictions, models: Models) -> None:
        self._journal = journal
        self._cases = cases
        self._annotations = annotations
        self._predictions = predictions
        self._models = models

    def now(self, case_id: str) -> Version:
        """Return the version of a case that is shown now."""
        with self._journal.lock:
            rows = self._predictions.rows(case_id)
            return Version(self._annotations.seq(case_id), rows[-1].id if rows else None)

    def mask(self, case_id: str, version: Version) -> npt.NDArray[np.uint8]:
        """Return the mask (z, y, x) of a version: 0 background, 1 tumour; background where neither says anything.

        In a case that is done no prediction adds to what was approved.
        """
        annotation = self._annotations.at(case_id, version.seq)
        if version.prediction is None or self.is_done(case_id, version.seq):
            return np.where(annotation == UNDECIDED, np.uint8(BACKGROUND), annotation)
        predicted = self._predictions.refined(case_id, version.prediction)
        assert predicted is not None
        return overlay(predicted, annotation)

    def is_done(self, case_id: str, seq: int) -> bool:
        """Tell whether the case was done when its annotation stood at `seq`.

        It is once the person has said so, until that is taken back, or gone back behind by an undo or to an earlier version.
        """
        said = self._said(case_id, seq)
        if not said or not said[-1].value:
            return False
        later = [edit for edit in self._annotations.edits(case_id, said[-1].seq) if edit.seq <= seq]
        undone: set[int] = set()
        for edit in reversed(later):  # an undo can be undone itself
            if edit.undoes is not None and edit.seq not in undone:
                undone.add(edit.undoes)
        behind = [edit for edit in later if edit.tool.startswith(CHECKOUT) or (edit.undoes is not None and edit.undoes <= said[-1].seq)]
        return all(edit.seq in undone for edit in behind)

    def _said(self, case_id: str, seq: int) -> list[MarkRow]:
        """Return the marks that say whether a case is done, made up to `seq`."""
        return [mark for mark in marks(self._journal, case_id) if mark.what == "case-done" and mark.seq <= seq]

    def moments(self, case_id: str) -> list[Moment]:
        """Return what happened to a case, oldest first; runs of strokes are one entry each."""
        with understood(f"The history of {case_id}"):  # without the lock: what is past does not change, and strokes need not wait
            edits = self._annotations.edits(case_id)
            others = [*self._predicted(case_id), *self._marked(case_id), *self._learned(case_id), *self._happened(case_id)]
            times = list(accumulate((edit.time for edit in edits), max))  # the clock may have been set back
            strokes = [_stroke(replace(edit, time=time)) for edit, time in zip(edits, times, strict=True)]
            others = [_not_before(moment, times) for moment in others]
            found: list[Moment] = []
            version = Version(0, None)
            for moment in sorted([*strokes, *others], key=lambda moment: (moment.time, moment.kind != "edits")):
                after = Version(max(version.seq, moment.version.seq), moment.version.prediction or version.prediction)
                moment = replace(moment, before=version, version=after)
                if moment.kind == "edits" and found and _goes_on(found[-1], moment):
                    found[-1] = replace(found[-1], until=moment.until, version=after)
                else:
                    found.append(moment)
                version = after
            return [_told(moment, edits) if moment.kind == "edits" else moment for moment in found]

    def compare(self, case_id: str, first: Version, second: Version) -> Comparison:
        """Return which voxels differ between the masks of two versions, and what made them what they are in `second`."""
        before, after = self.mask(case_id, first), self.mask(case_id, second)
        differs = before != after
        box = box_around(differs)
        if box is None:
            nothing = np.empty((0, 0, 0), np.uint8)
            return Comparison(first, second, None, nothing, nothing, ())
        place = slices(box)
        cut = (differs[place], before[place].copy(), after[place].copy())
        return Comparison(first, second, box, cut[1], cut[2], tuple(self._shares(case_id, second, box, *cut)))

    def _shares(
        self,
        case_id: str,
        version: Version,
        box: Box,
        left: npt.NDArray[np.bool_],
        before: npt.NDArray[np.uint8],
        after: npt.NDArray[np.uint8],
    ) -> Iterator[Share]:
        """Ask the edits, the last one first, which of the voxels `left` they decided; the prediction answers for the rest."""
        added, removed = left & (after == TUMOUR), left & (before == TUMOUR)
        decided = self._annotations.at(case_id, version.seq)[slices(box)] != UNDECIDED
        model = [row for row in self._predictions.rows(case_id) if row.id == version.prediction]
        rest = left & ~decided
        if rest.any():
            counts = int(np.count_nonzero(rest & added)), int(np.count_nonzero(rest & removed))
            if self.is_done(case_id, version.seq):
                mark = self._said(case_id, version.seq)[-1]
                yield Share("done", mark.id, mark.time, "case done", *counts)
            elif model:
                yield Share("refinement" if model[0].refined else "prediction", model[0].id, model[0].time, model[0].model, *counts)
            else:
                yield Share("nothing", 0, "", "", *counts)
        found: list[Share] = []
        left_to_say = left & decided
        seq, shape = version.seq, self._cases.shape(case_id)
        remaining = int(np.count_nonzero(left_to_say))
        while remaining and seq > 0:
            for row in reversed(self._journal.rows("edit", "case_id=? AND seq>? AND seq<=?", (case_id, seq - _RUN, seq))):
                own, mask, _, _ = unpacked(row, shape)
                common = _common(own, box)
                if common is None:
                    continue
                into, out_of = common
                mine = left_to_say[into] & mask[out_of]
                if mine.any():
                    counts = int(np.count_nonzero(mine & added[into])), int(np.count_nonzero(mine & removed[into]))
                    found.append(Share("edit", row["seq"], row["time"], row["tool"], *counts))
                    left_to_say[into] &= ~mine
                    remaining -= int(np.count_nonzero(mine))
            seq -= _RUN
        yield from reversed(found)

    def _predicted(self, case_id: str) -> Iterator[Moment]:
        for row in self._predictions.rows(case_id):
            version = Version(row.seq, row.id)
            words = f"Prediction by {row.model[:8]}" + (", refined with the strokes" if row.refined else "")
            yield Moment("prediction", row.time, row.time, version, version, words, model=row.model)

    def _marked(self, case_id: str) -> Iterator[Moment]:
        for mark in marks(self._journal, case_id):
            version = Version(mark.seq, None)
            yield Moment("mark", mark.time, mark.time, version, version, _marked(mark))

    def _learned(self, case_id: str) -> Iterator[Moment]:
        for learned in self._models.rounds():
            if case_id in learned.case_ids:
                version = Version(0, None)
                yield Moment("round", learned.time, learned.time, version, version, _round(learned), model=learned.candidate)

    def _happened(self, case_id: str) -> Iterator[Moment]:
        version = Version(0, None)
        adopted = {row.candidate: row.time for row in self._models.rounds() if row.adopted and case_id in row.case_ids}
        for event in events(self._journal):
            if event.kind == CURRENT and event.details.get("before") is not None:
                sha = str(event.details["sha"])
                if sha in adopted and _gap(event.time, adopted[sha]) < _SAME:
                    continue  # the learning round tells of it
                yield Moment("current-model", event.time, event.time, version, version, f"Model {sha[:8]} in use", model=sha)
            elif event.kind == RECOVERED:
                yield Moment("recovered", event.time, event.time, version, version, "Opened again after a crash")


def _common(own: Box, box: Box) -> tuple[Place, Place] | None:
    """Return where two boxes meet, as slices of `box` and of `own`; None if they do not."""
    common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(own, box, strict=True)]
    if any(start >= stop for start, stop in common):
        return None
    into, out_of = (tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(common, whole, strict=True)) for whole in (box, own))
    return into, out_of


def _gap(first: str, second: str) -> timedelta:
    return abs(datetime.fromisoformat(second) - datetime.fromisoformat(first))


def _not_before(moment: Moment, times: list[str]) -> Moment:
    """Put what followed an edit not before it, whatever the clock of its computer said."""
    seq = moment.version.seq
    time = max(moment.time, times[seq - 1]) if 0 < seq <= len(times) else moment.time
    return replace(moment, time=time, until=max(moment.until, time))


def _stroke(edit: EditRow) -> Moment:
    version = Version(edit.seq, None)
    return Moment("edits", edit.time, edit.time, version, version, edit.tool)


def _goes_on(run: Moment, stroke: Moment) -> bool:
    return run.kind == "edits" and _gap(run.until, stroke.time) < _PAUSE and stroke.version.seq - run.before.seq <= _RUN


def _told(run: Moment, edits: list[EditRow]) -> Moment:
    """Describe a run of edits by all of them."""
    own = edits[run.before.seq : run.version.seq]
    corners = np.array([edit.box for edit in own])
    box = tuple((int(a), int(b)) for a, b in zip(corners[:, :, 0].min(axis=0), corners[:, :, 1].max(axis=0), strict=True))
    tools = Counter(edit.tool for edit in own)
    words = ", ".join(tool if count == 1 else f"{count} x {tool}" for tool, count in tools.items())
    return replace(run, what=words, box=(box[0], box[1], box[2]), voxels=sum(edit.voxels for edit in own))


def _marked(mark: MarkRow) -> str:
    if mark.what == "case-done":
        return "Case done" if mark.value else "Case no longer done"
    return "Slice reviewed"


def _round(learned: RoundRow) -> str:
    made = "nothing" if learned.candidate is None else f"model {learned.candidate[:8]}"
    return f"Learned {made}, {'adopted' if learned.adopted else 'not adopted'}"
