"""One case corrected stroke by stroke, in memory: what each stroke achieves, and how many a Dice takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import UNDECIDED, Geometry, Prediction, overlay, slices
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
Refine = Callable[[Mask], Job[Prediction]]
"""Takes all strokes so far (0 or 1, 255 where nothing was said) and returns what follows from them."""
VISIBLE = 0.02
"""Loss of Dice that a person sees, who then takes a refinement back."""


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
    refined : Prediction, optional
        The refinement that is shown at last, if there is one.
    taken_back : int
        Refinements that were taken back.
    """

    strokes: tuple[Click, ...]
    dice: tuple[float, ...]
    good_enough: bool
    refined: Prediction | None = None
    taken_back: int = 0


def annotate(
    prediction: Mask, truth: Mask, geometry: Geometry, annotator: Annotator, rng: np.random.Generator, refine: Refine | None = None
) -> Job[Corrected]:
    """Correct `prediction` until it looks good enough to the annotator, or :data:`CAP` strokes are made; `rng` decides all of it.

    With `refine` the mask is refined with the strokes after each of them; what was painted stays as it was painted. The annotator takes a
    refinement back, which is not counted, if it looks worse by :data:`VISIBLE` than what was shown before with the stroke.
    """
    annotation = np.full(prediction.shape, UNDECIDED, np.uint8)
    refined: Prediction | None = None
    taken_back = 0
    shown = prediction.copy()
    believed = annotator.looks(truth, shown, rng)
    strokes: list[Click] = []
    trail = [dice(shown, truth)]
    while len(strokes) < CAP and dice(shown, believed) < GOAL:
        one = annotator.strokes(believed, shown, geometry, rng)
        if one is None:
            break
        changed = one.mask & (shown[slices(one.box)] != one.value)
        annotation[slices(one.box)][changed] = one.value
        strokes.append(replace(one, mask=changed))
        if refine is not None and changed.any():
            painted = overlay(prediction if refined is None else refined.refined, annotation)
            found = yield from refine(annotation)
            if looks_worse(overlay(found.refined, annotation), painted, believed):
                taken_back += 1
            else:
                refined = found
        shown = overlay(prediction if refined is None else refined.refined, annotation)
        trail.append(dice(shown, truth))
    return Corrected(tuple(strokes), tuple(trail), dice(shown, believed) >= GOAL, refined, taken_back)


def looks_worse(refined: Mask, painted: Mask, believed: Mask) -> bool:
    """Tell whether a refinement is worse, for everyone to see, than the mask with the strokes alone."""
    return dice(refined, believed) < dice(painted, believed) - VISIBLE


def corrections_to(threshold: float, trail: Sequence[float]) -> int:
    """Number of corrections after which the Dice stays at least `threshold`: 0 if it is from the start, :data:`CAP` if it never does."""
    below = [number for number, value in enumerate(trail) if value < threshold]
    return CAP if trail[-1] < threshold else below[-1] + 1 if below else 0
