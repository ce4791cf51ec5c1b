"""Refine one prediction with the strokes on its case, in a moment and without the network.

Strokes say how tumour and healthy tissue look in this very case. The evidence of a voxel is the log-likelihood ratio of its intensities
under the two, with the model's log-odds as a weak prior; a random walk settles the mask between the strokes and what is sure, so that it
follows the edges of the evidence. What was painted only adds to the model's own mask, and what was erased only takes away from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit, logit

from napari_breastseg.case import BACKGROUND, REFINED_WITH, TUMOUR, UNDECIDED, Box, Case, Geometry, Prediction, slices
from napari_breastseg.errors import InputError
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.inference.random_walk import random_walk
from napari_breastseg.preprocess.overview import first_post_contrast
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software

GROWTH = 15.0
"""How far (mm) from painted tumour more of it may be found."""
RING = (3.0, 20.0)
"""Distance (mm) from painted tumour of what shows how healthy tissue looks there."""
SMOOTHING = 1.5
"""Standard deviation (mm) of the Gaussian that takes the noise out of the intensities."""
PRIOR = 0.3
"""Weight of the model's log-odds beside the log-likelihood ratio."""
SURE = 3.0
"""Evidence from which a voxel is a seed of the random walk."""
DOUBT = 1.0
"""Evidence by which tissue must differ from what was erased beside it to stay tumour: the person has contradicted the model there."""
SHRINK = 1.0
"""Independent voxels for which the covariance of everything counts in that of a stroke: a small one alone has none to speak of."""
EDGE, WEIGHT = 20.0, 0.1
"""How hard it is for the random walk to cross an edge, and how much weight it gives to what each voxel shows."""
MOST_VOXELS = 4_000_000
"""Voxels of the largest random walk, which takes some 0.5 kB for each."""

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float64]


def refine(case: Case, before: Prediction, annotation: Labels) -> Job[Prediction]:
    """Let a prediction follow the strokes on its case.

    From painted tumour more is found within :data:`GROWTH`, where it hangs together with it. Where most of a part of the mask was erased in
    the slices that were looked at, and not just at an end of it, what looks like that goes in its other slices, too. All else stays.

    Parameters
    ----------
    case : Case
    before : Prediction
        What the model said by itself.
    annotation : ndarray, shape (z, y, x), uint8
        The strokes: 0 or 1, 255 where nothing was said.

    Returns
    -------
    Prediction
        Its details hold :data:`~napari_breastseg.case.REFINED_WITH`.

    Raises
    ------
    InputError
        If the case is a single image, there are no strokes on it, or its images hold values that are not finite.
    """
    started = time.perf_counter()
    if case.flat:
        raise InputError(
            "Refining carries strokes to other slices, and this case is a single image. Paint what is missing, erase what is wrong."
        )
    decided = annotation != UNDECIDED
    if not decided.any():
        raise InputError("There are no strokes on this case yet. Paint missing tumour or erase what is none first.")
    yield Progress(0, 1, "Looking at the strokes")
    work = _Work(
        case,
        old=before.refined == TUMOUR,
        said=np.asarray(before.probability, np.float32),
        painted=annotation == TUMOUR,
        erased=annotation == BACKGROUND,
    )
    steps = [partial(work.erase, box, part) for box, part in _parts(work.old, work.erased)]
    steps += [partial(work.grow, box) for box in _places(work.painted, work.case.geometry)]  # at last: what is painted grows, whatever went
    for number, step in enumerate(steps, 1):
        step()
        yield Progress(number, len(steps), "Following the strokes")
    details = {
        **before.details,
        "device": "cpu",
        "engine": "random walk",
        "seconds": round(time.perf_counter() - started, 2),
        "software": software(),
        REFINED_WITH: {
            "tumour_voxels": int(work.painted.sum()),
            "erased_voxels": int(work.erased.sum()),
            "sha256": fingerprint(annotation),
        },
    }
    refined = clean_mask(work.mask, case.geometry.voxel_ml)
    return replace(before, probability=work.probability, refined=refined, maps={}, details=details)


def fingerprint(annotation: Labels) -> str:
    """Return the sha256 of the strokes on a case, by which a refinement tells with which of them it was made."""
    return sha256(np.ascontiguousarray(annotation).data).hexdigest()


class _Work:
    """A refinement in the making: `mask` and `probability` begin as what the model said and follow the strokes step by step."""

    def __init__(self, case: Case, old: Mask, said: npt.NDArray[np.float32], painted: Mask, erased: Mask) -> None:
        self.case, self.old, self.said, self.painted, self.erased = case, old, said, painted, erased
        self.mask, self.probability = old.copy(), said.copy()

    def erase(self, box: Box, part: Mask) -> None:
        """Take from a part of the mask what looks like what was erased, if most of it was erased where somebody looked."""
        place = slices(box)
        gone, stays = part & self.erased[place], part & self.painted[place]
        if not _mostly(gone, part):
            return
        evidence = log_likelihood_ratio(_smooth(self.case, box), part & ~gone, gone, _kernel(self.case)) - DOUBT
        healthy = ~part | gone | (evidence < -SURE) & ~stays
        chance = _settle(evidence, part & (stays | (evidence > SURE)) & ~gone, healthy, self.case.geometry)
        went = part & (chance <= 0.5)
        self.mask[place] &= ~went
        self.probability[place] = np.where(went, chance, self.probability[place])

    def grow(self, box: Box) -> None:
        """Add tumour around all that was painted in a box, where it looks like that and hangs together with it."""
        place = slices(box)
        strokes, erased, old = self.painted[place], self.erased[place], self.old[place]
        distance = ndimage.distance_transform_edt(~strokes, sampling=self.case.geometry.spacing)
        ring = (distance > RING[0]) & (distance < RING[1]) & ~old
        prior = PRIOR * logit(np.clip(self.said[place].astype(float), 1e-3, 1 - 1e-3))
        evidence = log_likelihood_ratio(_smooth(self.case, box), strokes, ring | erased, _kernel(self.case)) + prior
        may = (distance <= GROWTH) & ~erased & ~(old & ~self.mask[place])  # nothing grows back
        chance = _settle(evidence, strokes, ~may | (evidence < -SURE) & ~strokes, self.case.geometry)
        found = may & (chance > 0.5) | strokes
        joined, _ = ndimage.label(found, np.ones((3, 3, 3)))
        added = ~self.mask[place] & found & np.isin(joined, np.unique(joined[strokes]))
        self.mask[place] |= added
        self.probability[place] = np.where(added, chance, self.probability[place])


def _smooth(case: Case, box: Box) -> Map:
    """Return the smoothed intensities before and after contrast in a box, shape (z, y, x, phase).

    Raises
    ------
    InputError
        If they are not all finite.
    """
    sigma = [SMOOTHING / step for step in case.geometry.spacing]
    phases = sorted({0, first_post_contrast(case)})
    values = np.stack([ndimage.gaussian_filter(np.asarray(case.images[(p, *slices(box))], float), sigma) for p in phases], -1)
    if not np.isfinite(values).all():
        raise InputError(f"The images of {case.name} hold values that are no numbers here. Correct the files, then refine again.")
    return values


def _kernel(case: Case) -> float:
    """Return how many voxels share one independent value once the noise is taken out: the volume of the Gaussian's autocorrelation."""
    return math.prod(max(1.0, math.sqrt(4 * math.pi) * SMOOTHING / step) for step in case.geometry.spacing)


def _mostly(erased: Mask, part: Mask) -> bool:
    """Tell whether most of a part was erased in the slices, along some axis, in which it was erased at all, and that not only at an end."""
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        gone, all_of_it = erased.sum(others), part.sum(others)
        if gone.sum() > 0.5 * all_of_it[gone > 0].sum() and gone.max() > 0.65 * all_of_it.max():
            return True
    return False


def log_likelihood_ratio(values: Map, tumour: Mask, healthy: Mask, alike: float = 1.0) -> Map:
    """Log-likelihood ratio of normal distributions fitted to the values of two regions, shape (z, y, x); 0 where one region is empty.

    Parameters
    ----------
    values : ndarray, shape (z, y, x, channel)
    tumour, healthy : ndarray of bool, shape (z, y, x)
    alike : float
        Voxels that are no more worth than a single independent one.
    """
    if not tumour.any() or not healthy.any():
        return np.zeros(tumour.shape)
    common = np.cov(values[tumour | healthy].T).reshape(2 * values.shape[-1:])
    common += 1e-6 * max(float(np.trace(common)), 1e-12) * np.eye(len(common))
    return _log_density(values, values[tumour], common, alike) - _log_density(values, values[healthy], common, alike)


def _log_density(values: Map, sample: Map, common: Map, alike: float) -> Map:
    """Log-density of a normal distribution; its covariance is drawn to the `common` one as if by :data:`SHRINK` independent voxels."""
    away = sample - np.median(sample, 0)
    covariance = (away.T @ away / alike + SHRINK * common) / (len(sample) / alike + SHRINK)
    offset = values - np.median(sample, 0)
    squares = np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset)
    result: Map = -0.5 * (squares + np.linalg.slogdet(covariance)[1])
    return result


def _settle(evidence: Map, tumour: Mask, healthy: Mask, geometry: Geometry) -> Map:
    """Return the chance of tumour from the evidence and the seeds; in more than :data:`MOST_VOXELS` each voxel stands alone."""
    alone: Map = expit(evidence)
    if alone.size > MOST_VOXELS:
        return np.where(tumour, 1.0, np.where(healthy, 0.0, alone))
    return random_walk(alone, tumour, healthy, geometry.spacing, EDGE, WEIGHT)


def _parts(mask: Mask, decided: Mask) -> list[tuple[Box, Mask]]:
    """Return the connected parts (26 neighbours) of a mask in which something was decided, each as a box and its voxels in it."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    boxes = ndimage.find_objects(labels)
    return [(_box(boxes[label - 1]), labels[boxes[label - 1]] == label) for label in np.unique(labels[decided & mask])]


def _places(painted: Mask, geometry: Geometry) -> list[Box]:
    """Return boxes around all that was painted, with room; those that meet are one, so that all strokes on a tumour count together."""
    reach = [math.ceil(RING[1] / step) for step in geometry.spacing]
    room = np.zeros(painted.shape, bool)
    for parts in ndimage.find_objects(ndimage.label(painted, np.ones((3, 3, 3)))[0]):
        room[tuple(slice(max(0, part.start - n), part.stop + n) for part, n in zip(parts, reach, strict=True))] = True
    return [_box(parts) for parts in ndimage.find_objects(ndimage.label(room)[0])]


def _box(parts: Sequence[slice]) -> Box:
    z, y, x = ((int(part.start), int(part.stop)) for part in parts)
    return z, y, x
