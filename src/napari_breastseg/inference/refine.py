"""Refine one prediction with the strokes on its case, in a moment and without the network.

Strokes say how tumour and healthy tissue look in this very case. The evidence of a voxel is the log-likelihood ratio of its intensities
under the two, with the model's log-odds as a weak prior; a random walk (Grady 2006, doi 10.1109/TPAMI.2006.233) settles the mask between
the strokes and what is sure, so that it follows the edges of the evidence. Painting only adds and erasing only takes away, as a hand does.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import logit
from skimage.segmentation import random_walker

from napari_breastseg.case import BACKGROUND, REFINED_WITH, TUMOUR, UNDECIDED, Box, Case, Geometry, Prediction, slices
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

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float64]


def refine(case: Case, before: Prediction, annotation: Labels) -> Job[Prediction]:
    """Let a prediction follow the strokes on its case.

    From painted tumour more is found within :data:`GROWTH`, where it hangs together with it. Where most of a part of the mask was erased in
    the slices that were looked at, what looks like that goes in its other slices, too. All else stays as it was.

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
        If there are no strokes on the case.
    """
    started = time.perf_counter()
    decided = annotation != UNDECIDED
    if not decided.any():
        raise InputError("There are no strokes on this case yet. Paint missing tumour or erase what is none first.")
    yield Progress(0, 1, "Looking at the strokes")
    mask, probability = before.refined == TUMOUR, np.array(before.probability, np.float32)
    parts = _parts(mask | (annotation == TUMOUR), decided)
    for number, (box, part) in enumerate(parts, 1):
        around = _grown(box, case.geometry, case.shape)
        place, inner = slices(around), slices(_within(box, around))
        whole = np.zeros(annotation[place].shape, bool)
        whole[inner] = part
        images = [np.asarray(case.images[(phase, *place)], float) for phase in sorted({0, first_post_contrast(case)})]
        gone, grown, chance = _settled(images, whole, mask[place], probability[place], annotation[place], case.geometry)
        mask[place] = (mask[place] & ~gone) | grown
        probability[place] = np.where(gone | grown, chance, probability[place])
        yield Progress(number, len(parts), "Following the strokes")
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


def _settled(
    images: Sequence[Map], part: Mask, mask: Mask, probability: npt.NDArray[np.float32], annotation: Labels, geometry: Geometry
) -> tuple[Mask, Mask, Map]:
    """Settle one part of the mask, all given within a box around it.

    Returns
    -------
    tuple of ndarray
        What goes, what is new, and the chance of tumour there.
    """
    smooth = np.stack([ndimage.gaussian_filter(image, [SMOOTHING / step for step in geometry.spacing]) for image in images], -1)
    painted, erased = part & (annotation == TUMOUR), annotation == BACKGROUND
    gone, grown, chance = np.zeros_like(part), np.zeros_like(part), np.zeros(part.shape)
    if _mostly(part & erased, part):
        evidence = log_likelihood_ratio(smooth, part & ~erased, part & erased) - DOUBT
        chance = _walk(evidence, part & (painted | (evidence > SURE)) & ~erased, ~part | erased | (evidence < -SURE) & ~painted, geometry)
        gone = part & (chance <= 0.5)
    if painted.any():
        distance = ndimage.distance_transform_edt(~painted, sampling=geometry.spacing)
        around = (distance > RING[0]) & (distance < RING[1]) & ~mask
        prior = PRIOR * logit(np.clip(probability.astype(float), 1e-3, 1 - 1e-3))
        evidence = log_likelihood_ratio(smooth, painted, around | erased) + prior
        may = (distance <= GROWTH) & ~gone & ~erased
        added = _walk(evidence, painted, ~may | (evidence < -SURE) & ~painted, geometry)
        joined, _ = ndimage.label((may & (added > 0.5)) | painted, np.ones((3, 3, 3)))
        grown = ~mask & may & (added > 0.5) & np.isin(joined, np.unique(joined[painted]))
        chance = np.where(grown, added, chance)
    return gone, grown, chance


def _mostly(erased: Mask, part: Mask) -> bool:
    """Tell whether more than half of a part was erased in the slices, along any axis, in which it was erased at all."""
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        looked_at = erased.any(others)
        if 2 * erased.sum() > part.sum(others)[looked_at].sum():
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
    """Return the chance that a random walk from each voxel meets a seed of tumour before one of healthy tissue."""
    if not tumour.any() or (tumour | healthy).all():
        return tumour.astype(float)
    seeds = np.where(tumour, 1, np.where(healthy, 2, 0))
    spacing = np.array(geometry.spacing) / min(geometry.spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an optional solver is missing, and of voxels that no seed reaches, which get 0
        chances = random_walker(
            np.clip(evidence, -LARGEST, LARGEST), seeds, beta=BETA, mode="cg_j", tol=1e-3, spacing=spacing, return_full_prob=True
        )
    result: Map = np.asarray(chances[0], float)
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
