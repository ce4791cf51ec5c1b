"""One case corrected click by click, in memory: what each click achieves, and how many a Dice takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Geometry, slices
from napari_breastseg.evaluation.annotators.clicks import Click
from napari_breastseg.evaluation.annotators.sloppy import Annotator
from napari_breastseg.evaluation.metrics import dice

CAP = 20
"""Corrections after which the annotator gives up; a Dice that was not reached counts as so many."""
GOAL = 0.90
"""Dice, as the annotator believes it to be, at which the case is good enough."""
THRESHOLDS = (0.80, 0.85, 0.90)

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Corrected:
    """What an annotator made of a prediction.

    Parameters
    ----------
    clicks : tuple of Click
        In order; a click's mask holds the voxels that it changed, perhaps none.
    dice : tuple of float
        Against the truth, of the shown mask before any click and after each one.
    good_enough : bool
        Whether the annotator believes that the goal was reached.
    """

    clicks: tuple[Click, ...]
    dice: tuple[float, ...]
    good_enough: bool


def annotate(prediction: Mask, truth: Mask, geometry: Geometry, annotator: Annotator, rng: np.random.Generator) -> Corrected:
    """Correct `prediction` until it looks good enough to the annotator, or :data:`CAP` clicks are made; the same `rng`, the same clicks."""
    shown = prediction.copy()
    believed = annotator.looks(truth, shown, rng)
    clicks: list[Click] = []
    trail = [dice(shown, truth)]
    while len(clicks) < CAP and dice(shown, believed) < GOAL:
        one = annotator.clicks(believed, shown, geometry, rng)
        if one is None:
            break
        part = shown[slices(one.box)]
        changed = one.mask & (part != one.value)
        part[changed] = one.value
        clicks.append(replace(one, mask=changed))
        trail.append(dice(shown, truth))
    return Corrected(tuple(clicks), tuple(trail), dice(shown, believed) >= GOAL)


def corrections_to(threshold: float, trail: Sequence[float]) -> int:
    """Number of corrections after which the Dice first is at least `threshold`: 0 if it is before any, :data:`CAP` if it never is."""
    return next((number for number, value in enumerate(trail) if value >= threshold), CAP)
