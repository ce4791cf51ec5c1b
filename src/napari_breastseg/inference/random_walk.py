"""A random walk with priors (Grady 2005, doi 10.1109/CVPR.2005.239): settles a mask between seeds, along edges, by what each voxel shows.

scikit-image's random walker has no priors: it knows edges alone, so that a region without any goes to whichever seeds are more, and voxels
that edges shut in to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import cg

Map = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def random_walk(prior: Map, tumour: Mask, healthy: Mask, spacing: Sequence[float], edge: float, weight: float) -> Map:
    """Return the chance that a random walk from a voxel ends at tumour: at a seed of it, or on the way, by the voxels' priors.

    A step to a neighbour weighs exp(-`edge` times the squared gradient of the priors), an end on the spot `weight`.

    Parameters
    ----------
    prior : ndarray, shape (z, y, x), float64
        Chance of tumour that each voxel alone gives, from 0 to 1.
    tumour, healthy : ndarray of bool, shape (z, y, x)
        Seeds, where the chance is 1 and 0.
    spacing : sequence of float
        Voxel size along the axes in any unit; gradients are per smallest of them.
    edge, weight : float
        Both positive.

    Returns
    -------
    ndarray, shape (z, y, x), float64
    """
    known = (tumour | healthy).ravel()
    free, chance = np.flatnonzero(~known), tumour.ravel().astype(float)
    if not free.size:
        return chance.reshape(prior.shape)
    a, b, step = _edges(prior, known, spacing, edge)
    degree = np.bincount(a, step, known.size) + np.bincount(b, step, known.size)
    to_seeds = np.bincount(a, step * chance[b], known.size) + np.bincount(b, step * chance[a], known.size)
    number = np.cumsum(~known) - 1
    inner = ~known[a] & ~known[b]
    pairs = number[a[inner]], number[b[inner]]
    between = sparse.coo_array((step[inner], pairs), shape=(free.size, free.size)).tocsr()
    diagonal = degree[free] + weight
    system = sparse.diags_array(diagonal) - between - between.T
    target = to_seeds[free] + weight * prior.ravel()[free]
    chance[free] = cg(system, target, rtol=1e-6, M=sparse.diags_array(1 / diagonal))[0]
    result: Map = np.clip(chance, 0, 1).reshape(prior.shape)
    return result


def _edges(prior: Map, known: Mask, spacing: Sequence[float], edge: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Map]:
    """Return the pairs of neighbours that are not both known, and the weight of a step between them."""
    index, values = np.arange(prior.size).reshape(prior.shape), prior.ravel()
    starts, ends, steps = [], [], []
    for axis, size in enumerate(spacing):
        a, b = index[_cut(axis, 0, -1)].ravel(), index[_cut(axis, 1, None)].ravel()
        unknown = ~(known[a] & known[b])
        a, b = a[unknown], b[unknown]
        starts.append(a)
        ends.append(b)
        steps.append(np.exp(-edge * ((values[a] - values[b]) * min(spacing) / size) ** 2))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(steps)


def _cut(axis: int, start: int, stop: int | None) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)
