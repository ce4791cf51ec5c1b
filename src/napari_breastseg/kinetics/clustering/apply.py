"""The cluster of every breast voxel of a case, and the mean curve of each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.kinetics.clustering.codebook import Codebook
from napari_breastseg.kinetics.clustering.grid import Array, count_baselines, normalise
from napari_breastseg.kinetics.clustering.labeller import Labeller
from napari_breastseg.kinetics.clustering.voxels import breast_of, floor_of, read_breast
from napari_breastseg.progress import Job, Progress

Labels = npt.NDArray[np.uint8]
Curve = npt.NDArray[np.float64]

CHUNK = 2**14
"""Curves that are labelled at a time: what lies between two layers of the encoder, 4 MiB, fits a processor's cache."""


@dataclass(frozen=True)
class ClusterCurve:
    """Curves of the voxels of one cluster, one value for each phase.

    Attributes
    ----------
    voxels : int
    pe, pe_sd : ndarray, shape (phase,), float64
        Percent enhancement, mean and standard deviation. Voxels whose baseline is less than a tenth of the breast's median take no part:
        they have next to no signal to divide by. 0 if there are no others.
    normalised, normalised_sd : ndarray, shape (phase,), float64
        The same of the curves between 0 and 1.
    """

    voxels: int
    pe: Curve
    pe_sd: Curve
    normalised: Curve
    normalised_sd: Curve


@dataclass(frozen=True)
class ClusterMap:
    """Clusters of a case.

    Attributes
    ----------
    labels : ndarray, shape (z, y, x), uint8
        0 outside the breast, 1 to K the cluster, K + 1 no enhancement.
    codebook : str
        Hash of the codebook.
    seconds : tuple of float
        When each phase was taken, s after the injection.
    curves : mapping of int to ClusterCurve
        By label, for the labels that occur in the breast.
    """

    labels: Labels
    codebook: str
    seconds: tuple[float, ...]
    curves: Mapping[int, ClusterCurve]


def cluster_map(case: Case, seconds: Sequence[float], breast: npt.NDArray[Any], codebook: Codebook) -> Job[ClusterMap]:
    """Give every voxel of the breast its cluster, slab by slab, so that a lazy case is never in memory as a whole.

    Parameters
    ----------
    case : Case
    seconds : sequence of float
        When each phase was taken, s after the injection; phases at or before 0 are baselines. They need not be those of the fit.
    breast : ndarray, shape (z, y, x)
        Mask, 1 inside.
    codebook : Codebook

    Raises
    ------
    InputError
        If the mask or the times do not fit the case, or the case holds values that are not finite.
    """
    mask, times = breast_of(case, seconds, breast), tuple(seconds)
    labeller = Labeller.of(codebook, times)
    yield Progress(0, case.shape[0], "Reading the baseline")
    floor = floor_of(case, times, mask)
    labels, sums = np.zeros(case.shape, np.uint8), _Sums(codebook.non_enhancing, times, floor.baseline)
    for slab in read_breast(case, mask):
        found = np.empty(slab.signals.shape[1], np.uint8)
        for low in range(0, len(found), CHUNK):
            signals = slab.signals[:, low : low + CHUNK]
            values, extent = normalise(signals)
            part = np.where(extent < floor.extent, np.uint8(codebook.non_enhancing), labeller.label(values))
            sums.add(part, signals, values)
            found[low : low + CHUNK] = part
        labels[slab.place][slab.chosen] = found
        yield Progress(slab.place[0].stop, case.shape[0], "Labelling the breast")
    return ClusterMap(labels, codebook.sha, times, sums.curves())


def merge_non_enhancing(labels: Labels, codebook: Codebook) -> Labels:
    """Count voxels without enhancement to the cluster with the flattest curve, so that the labels are 0 to K."""
    return np.where(labels == codebook.non_enhancing, np.uint8(codebook.flattest), labels)


class _Sums:
    """Sums of curves and of their squares for each label."""

    def __init__(self, labels: int, seconds: tuple[float, ...], floor: float) -> None:
        self._baselines, self._floor = count_baselines(seconds), np.float32(floor)
        self._pe = np.zeros((1 + 2 * len(seconds), labels + 1))
        self._normalised = np.zeros((1 + 2 * len(seconds), labels + 1))

    def add(self, labels: Labels, signals: Array, values: Array) -> None:
        before = signals[: self._baselines].mean(axis=0)
        counted = before >= self._floor
        self._normalised += self._by_label(labels, values)
        self._pe += self._by_label(labels[counted], 100 * (signals[:, counted] / before[counted] - 1))

    def _by_label(self, labels: Labels, curves: Array) -> Curve:
        """Add up one, the curves and their squares, shape (1 + 2 phases, label)."""
        wide = curves.astype(np.float64)
        rows = (np.ones(len(labels)), *wide, *wide**2)
        return np.stack([np.bincount(labels, row, self._pe.shape[1]) for row in rows])

    def curves(self) -> dict[int, ClusterCurve]:
        """Return the means and deviations of the labels that have voxels."""
        found = np.flatnonzero(self._normalised[0]).tolist()
        return {k: ClusterCurve(int(self._normalised[0, k]), *_moments(self._pe[:, k]), *_moments(self._normalised[:, k])) for k in found}


def _moments(sums: Curve) -> tuple[Curve, Curve]:
    mean, square = np.split(sums[1:] / max(sums[0], 1), 2)
    return mean, np.sqrt(np.maximum(square - mean**2, 0))
