"""One case corrected stroke by stroke, in memory: what each stroke achieves, and how many a Dice takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED, Geometry, overlay, slices
from napari_breastseg.evaluation.annotators.clicks import Click
from napari_breastseg.evaluation.annotators.sloppy import Annotator
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.progress import Job

CAP = 20
"""Corrections after which the annotator gives up; a Dice that was not reached counts as so many."""
GOAL = 0.90
"""Dice, as the annotator believes it to be, at which the case is good enough."""
THRESHOLDS = (0.80, 0.85, 0.90)

Mask = npt.NDArray[np.uint8]
Refine = Callable[[Mask], Job[Mask]]
"""Takes all strokes so far (0 or 1, 255 where nothing was said) and returns the mask that follows from them."""


@dataclass(frozen=True)
class Corrected:
    """What an annotator made of a prediction.

    Parameters
    ----------
    strokes : tuple of Click
        In order; a stroke's mask holds the voxels that it changed, perhaps none.
    dice : tuple of float
        Against the truth, of the shown mask before any stroke and after each one.
    good_enough : bool
        Whether the annotator believes that the goal was reached.
    kept : int, optional
        Number of the refinement that is shown at last, counted from 0; None if there is none.
    taken_back : int
        Refinements that were taken back.
    """

    strokes: tuple[Click, ...]
    dice: tuple[float, ...]
    good_enough: bool
    kept: int | None = None
    taken_back: int = 0


def annotate(
    prediction: Mask, truth: Mask, geometry: Geometry, annotator: Annotator, rng: np.random.Generator, refine: Refine | None = None
) -> Job[Corrected]:
    """Correct `prediction` until it looks good enough to the annotator, or :data:`CAP` strokes are made; `rng` decides all of it.

    With `refine` the mask is refined with the strokes after each of them; what was painted stays as it was painted. The annotator takes a
    refinement back, which is not counted, if it looks worse than what was shown before with the stroke.
    """
    predicted, annotation = prediction, np.full(prediction.shape, UNDECIDED, np.uint8)
    shown = prediction.copy()
    believed = annotator.looks(truth, shown, rng)
    strokes: list[Click] = []
    trail = [dice(shown, truth)]
    kept, refinements, taken_back = None, 0, 0
    while len(strokes) < CAP and dice(shown, believed) < GOAL:
        one = annotator.strokes(believed, shown, geometry, rng)
        if one is None:
            break
        changed = one.mask & (shown[slices(one.box)] != one.value)
        annotation[slices(one.box)][changed] = one.value
        strokes.append(replace(one, mask=changed))
        if refine is not None and changed.any():
            refined = yield from refine(annotation)
            if dice(overlay(refined, annotation), believed) < dice(overlay(predicted, annotation), believed):
                taken_back += 1
            else:
                predicted, kept = refined, refinements
            refinements += 1
        shown = overlay(predicted, annotation)
        trail.append(dice(shown, truth))
    return Corrected(tuple(strokes), tuple(trail), dice(shown, believed) >= GOAL, kept, taken_back)


def corrections_to(threshold: float, trail: Sequence[float]) -> int:
    """Number of corrections after which the Dice stays at least `threshold`: 0 if it is from the start, :data:`CAP` if it never does."""
    below = [number for number, value in enumerate(trail) if value < threshold]
    return CAP if trail[-1] < threshold else below[-1] + 1 if below else 0
