"""Overlap of two masks, nearness of their surfaces, and what clicks make of both.

With A the mask and B the reference, |.| a number of voxels, TP = |A and B|, FP = |A| - TP, FN = |B| - TP. Where both masks are empty they
agree, and every figure from 0 to 1 is 1.0; where only one of them is empty, it is 0.0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from napari_breastseg.errors import InputError

# MONAI warns of an argument that it gives itself.
warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges", FutureWarning)
Mask = npt.NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """Numbers of voxels: true positive, false positive, false negative, true negative."""

    tp: int
    fp: int
    fn: int
    tn: int


def counts(mask: Mask, reference: Mask) -> Counts:
    """Count the voxels in which two masks of one shape agree and differ; a voxel is in a mask where it is not 0.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if mask.shape != reference.shape:
        raise InputError(f"A mask of shape {mask.shape} cannot be compared with a reference of shape {reference.shape}. Use the same grid.")
    a, b = mask.astype(bool, copy=False), reference.astype(bool, copy=False)
    tp = int(np.count_nonzero(a & b))
    fp, fn = int(np.count_nonzero(a)) - tp, int(np.count_nonzero(b)) - tp
    return Counts(tp, fp, fn, a.size - tp - fp - fn)


def dice(mask: Mask, reference: Mask) -> float:
    """Dice coefficient ``2 TP / (2 TP + FP + FN)``."""
    c = counts(mask, reference)
    return _ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def iou(mask: Mask, reference: Mask) -> float:
    """Intersection over union (Jaccard) ``TP / (TP + FP + FN)``."""
    c = counts(mask, reference)
    return _ratio(c.tp, c.tp + c.fp + c.fn)


def precision(mask: Mask, reference: Mask) -> float:
    """Share of the mask that is right, ``TP / (TP + FP)``; 0 for an empty mask beside a reference that is not."""
    c = counts(mask, reference)
    return _ratio(c.tp, c.tp + c.fp) if c.tp + c.fp or not c.fn else 0.0


def recall(mask: Mask, reference: Mask) -> float:
    """Share of the reference that is found, ``TP / (TP + FN)``; 0 for an empty reference beside a mask that is not."""
    c = counts(mask, reference)
    return _ratio(c.tp, c.tp + c.fn) if c.tp + c.fn or not c.fp else 0.0


def specificity(mask: Mask, reference: Mask) -> float:
    """Share of what is not the reference that is left out, ``TN / (TN + FP)``; near 1 whenever the reference is small."""
    c = counts(mask, reference)
    return _ratio(c.tn, c.tn + c.fp)


def accuracy(mask: Mask, reference: Mask) -> float:
    """Share of the voxels that are right, ``(TP + TN) / all``; near 1 whenever the reference is small."""
    c = counts(mask, reference)
    return _ratio(c.tp + c.tn, c.tp + c.tn + c.fp + c.fn)


def volumetric_similarity(mask: Mask, reference: Mask) -> float:
    """Likeness of the two volumes wherever they lie, ``1 - |FP - FN| / (2 TP + FP + FN)``."""
    c = counts(mask, reference)
    total = 2 * c.tp + c.fp + c.fn
    return _ratio(total - abs(c.fp - c.fn), total)


def nsd(mask: Mask, reference: Mask, spacing: tuple[float, float, float], tolerance: float = 2.0) -> float:
    """Normalised surface Dice: the share of both surfaces that lies no further than `tolerance` from the other one.

    Surfaces run between the voxels and are weighed by their area (Nikolov et al., J Med Internet Res 2021;23:e26151), so that voxels need
    not be cubes. In a 2-D image they are lines, weighed by their length.

    Parameters
    ----------
    mask, reference : ndarray, shape (z, y, x)
        z = 1 for a 2-D image.
    spacing : tuple of float
        Voxel size in mm.
    tolerance : float
        mm.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    from monai.metrics.utils import get_mask_edges

    c = counts(mask, reference)
    if c.tp + c.fp == 0 or c.tp + c.fn == 0:
        return float(c.fp == c.fn)
    flat = mask.shape[0] == 1
    a, b = (m[0].astype(bool) if flat else m.astype(bool) for m in (mask, reference))
    size = tuple(map(float, spacing[1:] if flat else spacing))
    edge_a, edge_b, area_a, area_b = get_mask_edges(a, b, spacing=size)
    near_a, near_b = (
        edge & (distance_transform_edt(~other, sampling=size) <= tolerance) for edge, other in ((edge_a, edge_b), (edge_b, edge_a))
    )
    return float((area_a[near_a].sum() + area_b[near_b].sum()) / (area_a[edge_a].sum() + area_b[edge_b].sum()))


def area_under_clicks(values: Sequence[float]) -> float:
    """Area under a figure over the clicks, by trapezoids of width 1; `values[0]`, from before the first click, does not count.

    For figures up to 1 the most is one less than the number of clicks.
    """
    return float(np.trapezoid(np.asarray(values[1:], float)))


def bootstrap_interval(values: Sequence[float], draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval (percentiles) of the mean of independent `values`, such as one per patient."""
    known = np.asarray(values, float)
    means = known[np.random.default_rng(seed).integers(len(known), size=(draws, len(known)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def hd95(mask: Mask, reference: Mask, spacing: tuple[float, float, float]) -> float:
    """Hausdorff distance, 95th percentile, in mm; NaN if one of the masks is empty.

    Parameters
    ----------
    mask, reference : ndarray, shape (z, y, x)
    spacing : tuple of float
        Voxel size in mm.
    """
    from monai.metrics import compute_hausdorff_distance

    return _between_surfaces(lambda a, b, s: compute_hausdorff_distance(a, b, percentile=95, spacing=s), mask, reference, spacing)


def asd(mask: Mask, reference: Mask, spacing: tuple[float, float, float]) -> float:
    """Average symmetric distance of the surfaces in mm; NaN if one of the masks is empty; parameters as of :func:`hd95`."""
    from monai.metrics import compute_average_surface_distance

    return _between_surfaces(lambda a, b, s: compute_average_surface_distance(a, b, symmetric=True, spacing=s), mask, reference, spacing)


def _between_surfaces(
    measure: Callable[[Tensor, Tensor, list[float]], Tensor], mask: Mask, reference: Mask, spacing: tuple[float, float, float]
) -> float:
    c = counts(mask, reference)
    if c.tp + c.fp == 0 or c.tp + c.fn == 0:
        return float("nan")
    flat = mask.shape[0] == 1
    a, b = (torch.from_numpy((m[0] if flat else m) != 0)[None, None].float() for m in (mask, reference))
    return float(measure(a, b, [float(s) for s in (spacing[1:] if flat else spacing)])[0, 0])


METRICS: Mapping[str, Callable[[Mask, Mask, tuple[float, float, float]], float]] = {
    "dice": lambda mask, reference, _: dice(mask, reference),
    "precision": lambda mask, reference, _: precision(mask, reference),
    "recall": lambda mask, reference, _: recall(mask, reference),
    "iou": lambda mask, reference, _: iou(mask, reference),
    "volumetric_similarity": lambda mask, reference, _: volumetric_similarity(mask, reference),
    "specificity": lambda mask, reference, _: specificity(mask, reference),
    "accuracy": lambda mask, reference, _: accuracy(mask, reference),
    "hd95": hd95,
    "asd": asd,
}
"""What the papers measure, of a mask, its reference and the size of the voxels."""


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
