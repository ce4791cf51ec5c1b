"""Annotators for streams of cases: an exact one, and one that errs as people do and does not notice.

The sloppy one trembles, overlooks some errors for good, and now and then paints beside the error, with the intended value or the other one.
It takes what it overlooked and what it painted for right, never corrects it, and approves it when it calls the case done. People notice
many of their own mistakes, so this is a hard test of the gate; the rates are settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Geometry, slices
from napari_breastseg.evaluation.annotators.clicks import Click, stroke

Mask = npt.NDArray[np.uint8]
TRIES = 20
"""Places that are tried for a wrong stroke until one changes what is shown."""


class Annotator(Protocol):
    """Somebody who corrects a case stroke by stroke."""

    def looks(self, truth: Mask, shown: Mask, rng: np.random.Generator) -> Mask:
        """Return what this annotator takes for the truth, a copy, when the case is opened with the mask `shown`."""
        ...

    def strokes(self, believed: Mask, shown: Mask, geometry: Geometry, rng: np.random.Generator) -> Click | None:
        """Return the next stroke, None if all looks right; `believed` changes in place where a mistake goes unnoticed."""
        ...


class Exact:
    """The robot: sees everything and hits it."""

    def looks(self, truth: Mask, shown: Mask, rng: np.random.Generator) -> Mask:
        """Return the truth."""
        return truth.copy()

    def strokes(self, believed: Mask, shown: Mask, geometry: Geometry, rng: np.random.Generator) -> Click | None:
        """Return the robot's stroke."""
        return stroke(believed, shown, geometry, rng)


@dataclass(frozen=True)
class Sloppy:
    """The robot with human failings.

    Parameters
    ----------
    jitter : float
        Standard deviation in mm along each axis between where a stroke was meant to go and where it goes.
    missed : float
        Share of the errors (connected components) that are never seen.
    wrong : float
        Share of the strokes that paint beside the error, half of them with the wrong value.
    """

    jitter: float = 2.0
    missed: float = 0.1
    wrong: float = 0.1

    def looks(self, truth: Mask, shown: Mask, rng: np.random.Generator) -> Mask:
        """Return the truth but for the errors that are overlooked, where the shown mask is taken for right."""
        errors, count = ndimage.label((truth != 0) != (shown != 0), np.ones((3, 3, 3)))
        overlooked = np.append(False, rng.random(count) < self.missed)[errors]
        return np.where(overlooked, shown, truth)

    def strokes(self, believed: Mask, shown: Mask, geometry: Geometry, rng: np.random.Generator) -> Click | None:
        """Return the robot's stroke where the hand put it."""
        meant = stroke(believed, shown, geometry, rng)
        if meant is None:
            return None
        done = None
        if rng.random() < self.wrong:
            done = self._wrong(meant, shown, geometry, rng)
        if done is None:
            done = _moved(meant, rng.normal(0, self.jitter, 3), shown.shape, geometry)
        believed[slices(done.box)][done.mask] = done.value
        return done

    def _wrong(self, meant: Click, shown: Mask, geometry: Geometry, rng: np.random.Generator) -> Click | None:
        """Paint one to two diameters beside, where it changes something; None if that is nowhere."""
        size = max((high - low) * step for (low, high), step in zip(meant.box, geometry.spacing, strict=True))
        value = int(rng.choice([meant.value, 1 - meant.value]))
        for _ in range(TRIES):
            way = rng.normal(size=3)
            way *= rng.uniform(1, 2) * size / np.linalg.norm(way)
            beside = _moved(replace(meant, value=value), way, shown.shape, geometry)
            if (shown[slices(beside.box)][beside.mask] != value).any():
                return beside
        return None


def _moved(one: Click, way: npt.NDArray[np.float64], shape: tuple[int, ...], geometry: Geometry) -> Click:
    """Move a click by `way` mm, and back into the image where it left it."""
    ranges = []
    for (low, high), step, spacing, size in zip(one.box, way, geometry.spacing, shape, strict=True):
        start = int(np.clip(low + round(step / spacing), 0, size - (high - low)))
        ranges.append((start, start + high - low))
    box: Box = (ranges[0], ranges[1], ranges[2])
    return replace(one, box=box)
