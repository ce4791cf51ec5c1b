"""Refine one prediction with the strokes on its case, in a moment and without the network.

Strokes say how tumour and healthy tissue look in this very case. The evidence of a voxel is the log-likelihood ratio of its intensities
under the two, with the model's log-odds as a weak prior; a random walk (Grady 2006, doi 10.1109/TPAMI.2006.233) settles the mask between
the strokes and what is sure, so that it follows the edges of the evidence. What was painted only adds to the model's own mask, and what was
erased only takes away from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import logit
from skimage.segmentation import random_walker

from napari_breastseg.case import BACKGROUND, REFINED_WITH, TUMOUR, UNDECIDED, Box, Case, Geometry, Prediction, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.preprocess.intensity import first_post_contrast
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
SURE, LARGEST = 3.0, 6.0
"""Evidence from which a voxel is a seed of the random walk, and at which it is cut off."""
DOUBT = 1.0
"""Evidence by which tissue must differ from what was erased beside it to stay tumour: the person has contradicted the model there."""
SHRINK = 10
"""Voxels for which the covariance of everything counts in that of a stroke: a small one alone has none to speak of."""
BETA = 200.0
"""How hard it is for the random walk to cross an edge."""
TOLERANCE = 1e-6
"""Of the solver: up to 6 % of a mask differed from a direct solution on phantoms; at 1e-3 it was up to a third of a small one."""

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
        If there are no strokes on the case, or its images hold values that are not finite.
    """
    started = time.perf_counter()
    decided = annotation != UNDECIDED
    if not decided.any():
        raise InputError("There are no strokes on this case yet. Paint missing tumour or erase what is none first.")
    yield Progress(0, 1, "Looking at the strokes")
    old, probability = before.refined == TUMOUR, np.array(before.probability, np.float32)
    painted, erased = annotation == TUMOUR, annotation == BACKGROUND
    parts = _parts(old | painted, decided)
    steps = [(_erase, box, part) for box, part in parts] + [(_grow, box, part) for box, part in parts]  # nothing grows back
    mask = old.copy()
    for number, (step, box, part) in enumerate(steps, 1):
        step(case, box, part, old, painted, erased, mask, probability)
        yield Progress(number, len(steps), "Following the strokes")
    details = {
        **before.details,
        "device": "cpu",
        "engine": "random walk",
        "seconds": round(time.perf_counter() - started, 2),
        "software": software(),
        REFINED_WITH: {"tumour_voxels": int((annotation == TUMOUR).sum()), "erased_voxels": int((annotation == BACKGROUND).sum())},
    }
    refined = clean_mask(mask, case.geometry.voxel_ml)
    return replace(before, probability=probability, refined=refined, maps={}, details=details)


def _erase(
    case: Case, box: Box, part: Mask, old: Mask, painted: Mask, erased: Mask, mask: Mask, probability: npt.NDArray[np.float32]
) -> None:
    """Take from a part of the mask what looks like what was erased, if most of it was erased where somebody looked."""
    place = slices(box)
    gone, stays = part & erased[place], part & painted[place]
    if not _mostly(gone, part):
        return
    evidence = log_likelihood_ratio(_smooth(case, box), part & ~gone, gone) - DOUBT
    chance = _walk(evidence, part & (stays | (evidence > SURE)) & ~gone, ~part | gone | (evidence < -SURE) & ~stays, case.geometry)
    went = part & (chance <= 0.5)
    mask[place] &= ~went
    probability[place] = np.where(went, chance, probability[place])


def _grow(
    case: Case, box: Box, part: Mask, old: Mask, painted: Mask, erased: Mask, mask: Mask, probability: npt.NDArray[np.float32]
) -> None:
    """Add tumour around what was painted in a part, where it looks like that and hangs together with it."""
    inner = part & painted[slices(box)]
    found = box_around(inner)
    if found is None:
        return
    z, y, x = ((start + low, start + high) for (start, _), (low, high) in zip(box, found, strict=True))
    around = _grown((z, y, x), case.geometry, case.shape)
    place = slices(around)
    strokes = np.zeros(erased[place].shape, bool)
    strokes[slices(_within((z, y, x), around))] = inner[slices(found)]
    distance = ndimage.distance_transform_edt(~strokes, sampling=case.geometry.spacing)
    ring = (distance > RING[0]) & (distance < RING[1]) & ~old[place]
    prior = PRIOR * logit(np.clip(probability[place].astype(float), 1e-3, 1 - 1e-3))
    evidence = log_likelihood_ratio(_smooth(case, around), strokes, ring | erased[place]) + prior
    may = (distance <= GROWTH) & ~erased[place] & ~(old[place] & ~mask[place])
    chance = _walk(evidence, strokes, ~may | (evidence < -SURE) & ~strokes, case.geometry)
    joined, _ = ndimage.label(may & (chance > 0.5) | strokes, np.ones((3, 3, 3)))
    added = ~mask[place] & may & (chance > 0.5) & np.isin(joined, np.unique(joined[strokes]))
    mask[place] |= added
    probability[place] = np.where(added, chance, probability[place])


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


def _mostly(erased: Mask, part: Mask) -> bool:
    """Tell whether most of a part was erased in the slices in which it was erased at all, and that not only at an end of it.

    Slices along any axis count, but in an image of one slice that slice alone.
    """
    for axis in range(3) if part.shape[0] > 1 else (0,):
        others = tuple(a for a in range(3) if a != axis)
        gone, all_of_it = erased.sum(others), part.sum(others)
        if gone.sum() > 0.5 * all_of_it[gone > 0].sum() and gone.max() > 0.65 * all_of_it.max():
            return True
    return False


def log_likelihood_ratio(values: Map, tumour: Mask, healthy: Mask) -> Map:
    """Log-likelihood ratio of normal distributions fitted to the values of two regions, shape (z, y, x); 0 where one region is empty.

    Parameters
    ----------
    values : ndarray, shape (z, y, x, channel)
    tumour, healthy : ndarray of bool, shape (z, y, x)
    """
    if not tumour.any() or not healthy.any():
        return np.zeros(tumour.shape)
    common = np.cov(values[tumour | healthy].T).reshape(2 * values.shape[-1:])
    common += 1e-6 * max(float(np.trace(common)), 1e-12) * np.eye(len(common))
    return _log_density(values, values[tumour], common) - _log_density(values, values[healthy], common)


def _log_density(values: Map, sample: Map, common: Map) -> Map:
    """Log-density of a normal distribution; its covariance is drawn to the `common` one as if by :data:`SHRINK` further voxels."""
    away = sample - np.median(sample, 0)
    covariance = (away.T @ away + SHRINK * common) / (len(sample) + SHRINK)
    offset = values - np.median(sample, 0)
    squares = np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset)
    result: Map = -0.5 * (squares + np.linalg.slogdet(covariance)[1])
    return result


def _walk(evidence: Map, tumour: Mask, healthy: Mask, geometry: Geometry) -> Map:
    """Return the chance that a random walk from each voxel meets a seed of tumour before one of healthy tissue.

    In more than :data:`MOST_VOXELS`, or without any edge, the evidence alone decides.
    """
    clipped = np.clip(evidence, -LARGEST, LARGEST)
    if not tumour.any() or (tumour | healthy).all():
        return tumour.astype(float)
    seeds = np.where(tumour, 1, np.where(healthy, 2, 0))
    if evidence.size > MOST_VOXELS or np.ptp(clipped) == 0:
        return np.where(seeds == 0, clipped > 0, tumour).astype(float)
    spacing = np.array(geometry.spacing) / min(geometry.spacing)
    walk = partial(random_walker, beta=BETA, mode="cg_j", tol=TOLERANCE, prob_tol=np.inf, spacing=spacing, return_full_prob=True)
    result: Map = np.clip(np.asarray(walk(clipped, seeds)[0], float), 0, 1)  # the solver strays a little where edges shut voxels in
    return result


def _parts(mask: Mask, decided: Mask) -> list[tuple[Box, Mask]]:
    """Return the connected parts (26 neighbours) of a mask in which something was decided, each as a box and its voxels in it."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    boxes, parts = ndimage.find_objects(labels), []
    for label in np.unique(labels[decided & mask]):
        z, y, x = ((int(part.start), int(part.stop)) for part in boxes[label - 1])
        parts.append(((z, y, x), labels[boxes[label - 1]] == label))
    return parts


def _grown(box: Box, geometry: Geometry, shape: Sequence[int]) -> Box:
    """Return a box with room for what surrounds it, within the case."""
    reach = [math.ceil(RING[1] / step) for step in geometry.spacing]
    z, y, x = ((max(0, low - n), min(size, high + n)) for (low, high), n, size in zip(box, reach, shape, strict=True))
    return z, y, x


def _within(box: Box, around: Box) -> Box:
    """Return a box in the indices of the box `around` it."""
    z, y, x = ((low - start, high - start) for (low, high), (start, _) in zip(box, around, strict=True))
    return z, y, x
