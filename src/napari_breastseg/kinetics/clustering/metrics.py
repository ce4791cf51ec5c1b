"""How good a clustering of curves is, in float64, over the clusters that hold voxels.

HCNet names compactness (CPN), separation (SPT), the Davies-Bouldin index (DBN), the error (SSE) and the tumour ratio (TVR) and defines none
of them: the definitions are ours. Its DBN of 0.0010 must be on another scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import InputError

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ClusterMetrics:
    """Figures of a clustering of curves x into clusters with means mu.

    Attributes
    ----------
    clusters : int
        Clusters that hold voxels.
    cpn : float
        Mean over the clusters of s, the mean distance ``|x - mu|`` in a cluster; lower is better.
    spt : float
        Mean distance between two means; higher is better.
    dbn : float
        Mean over the clusters of the greatest ``(s_i + s_j) / |mu_i - mu_j|`` (Davies and Bouldin 1979); lower is better.
    sse : float
        Mean over all voxels of ``|x - mu|^2``.
    """

    clusters: int
    cpn: float
    spt: float
    dbn: float
    sse: float


def cluster_metrics(curves: npt.NDArray[np.floating], labels: Labels) -> ClusterMetrics:
    """Measure a clustering.

    Parameters
    ----------
    curves : ndarray, shape (phase, voxel)
        Normalised.
    labels : ndarray of int, shape (voxel,)
        Every value is a cluster: leave out voxels that have none.

    Raises
    ------
    InputError
        If fewer than two clusters hold voxels.
    """
    found, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(found) < 2:
        raise InputError("Fewer than two clusters hold voxels, so nothing can be said of their separation. Fit more clusters.")
    x = curves.astype(np.float64)
    means = np.stack([np.bincount(index, phase) for phase in x]) / counts
    squared = ((x - means[:, index]) ** 2).sum(axis=0)
    spread = np.bincount(index, np.sqrt(squared)) / counts
    apart = np.sqrt(((means[:, :, None] - means[:, None]) ** 2).sum(axis=0))
    pairs = ~np.eye(len(found), dtype=bool)
    ratios = (spread[:, None] + spread)[pairs] / np.maximum(apart[pairs], np.finfo(float).tiny)
    worst = ratios.reshape(len(found), -1).max(axis=1)
    return ClusterMetrics(len(found), float(spread.mean()), float(apart[pairs].mean()), float(worst.mean()), float(squared.mean()))


def tumour_ratios(labels: Labels, tumour: npt.NDArray[np.bool_]) -> dict[int, float]:
    """Return for each cluster f_tumour / (f_tumour + f_rest), f being the share of that tissue's voxels that lie in the cluster.

    The greatest of them is TVR; the paper prints it with one less it, as "0.95/0.05".

    Raises
    ------
    InputError
        If there is no tumour or nothing else.
    """
    if tumour.all() or not tumour.any():
        raise InputError("The tumour ratio compares tumour with other tissue, but only one of them is there. Choose another region.")
    inside = {int(k): float((labels[tumour] == k).mean()) for k in np.unique(labels)}
    return {k: share / (share + float((labels[~tumour] == k).mean())) for k, share in inside.items()}


def purity(labels: Labels, truth: Labels) -> float:
    """Share of the voxels whose class is the commonest one of their cluster."""
    pairs, counts = np.unique(np.stack([labels, truth]), axis=1, return_counts=True)
    best = [counts[pairs[0] == k].max() for k in np.unique(pairs[0])]
    return float(np.sum(best) / len(labels))
