"""The displacement of one breast between two phases: a rigid one, and a free-form one that follows its blocks.

Displacements are in mm along (z, y, x), and lead from a place in the reference phase to the same tissue in the other phase. Places are in
mm from the centre of the case's first voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_breastseg.preprocess.blocks import Breast, Points
from napari_breastseg.preprocess.itk import Rigid, register_rigidly
from napari_breastseg.preprocess.resample import Volume
from napari_breastseg.progress import Job, Progress

KNOTS = 27.0
"""mm between the control points of the free-form displacement: coarse enough that it cannot shrink a lesion that enhances."""
STIFFNESS = 0.01
"""Weight of the squared second differences of the control points (mm) against the squared misfit (mm) of the blocks."""
PASSES, HOP = 3, 0.5
"""How often the blocks are measured anew, and how closely they lie, as a share of a block."""
OUTLIER, ROUNDS = 3.0, 4
"""Blocks that miss the fit by more than so many medians hardly count; the fit is repeated so often with these weights."""
LEAST_BLOCKS = 12
"""Fewer blocks than these are not bent after: the rigid displacement stays."""


@dataclass(frozen=True)
class Spline:
    """A free-form displacement by cubic B-splines (Rueckert et al., IEEE Trans Med Imaging 1999;18:712-721, eq. 3).

    Attributes
    ----------
    corner : ndarray, shape (3,)
        Where the first of its cells begins, mm; beyond the cells it goes on as it is at their border.
    points : ndarray, shape (z, y, x, 3)
        Control points, mm, :data:`KNOTS` apart.
    """

    corner: Points
    points: Points

    def at(self, places: Points) -> Points:
        """Return the displacement at each place, shape (place, 3)."""
        z, y, x = (_basis(p - c, n) for p, c, n in zip(places.T, self.corner, self.points.shape, strict=False))
        found: Points = np.einsum("pi,pj,pk,ijkc->pc", z, y, x, self.points, optimize=True)
        return found

    def on(self, axes: Sequence[Points]) -> Points:
        """Return the displacement on a grid with these coordinates along z, y and x, shape (z, y, x, 3)."""
        z, y, x = (_basis(a - c, n) for a, c, n in zip(axes, self.corner, self.points.shape, strict=False))
        found: Points = np.einsum("zi,yj,xk,ijkc->zyxc", z, y, x, self.points, optimize=True)
        return found


@dataclass(frozen=True)
class Displacement:
    """The displacement of one breast: a rigid one, and a free-form one on top where there is one."""

    rigid: Rigid
    spline: Spline | None = None

    def at(self, places: Points) -> Points:
        """Return the displacement at each place, shape (place, 3)."""
        return self.rigid.at(places) + (0 if self.spline is None else self.spline.at(places))

    def on(self, axes: Sequence[Points]) -> Points:
        """Return the displacement on a grid with these coordinates along z, y and x, shape (z, y, x, 3)."""
        moved = self.rigid.at(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
        return moved if self.spline is None else moved + self.spline.on(axes)


def find_displacement(breast: Breast, moving: Volume, bend: bool) -> Job[Displacement]:
    """Find how a breast lies in another phase.

    The rigid displacement maximises Mattes' mutual information (SimpleITK). The free-form one on top is fitted to the displacements of
    overlapping blocks, which are then measured again in what it makes of the phase, :data:`PASSES` times in all.

    Parameters
    ----------
    breast : Breast
    moving : ndarray, shape (z, y, x)
        The other phase on the grid of `breast`.
    bend : bool
        Whether a free-form displacement is wanted.
    """
    total = 1 + bend * PASSES
    yield Progress(0, total, "rigid")
    found = Displacement(register_rigidly(breast, moving))
    for step in range(1, total):
        yield Progress(step, total, f"free form, {step} of {PASSES}")
        seen = breast.displacements(_moved(breast, moving, found), HOP)
        if len(seen.places) < LEAST_BLOCKS:
            return found
        vectors = seen.vectors + found.at(seen.places + seen.vectors)
        found = Displacement(found.rigid, _fit(breast, seen.places, vectors - found.rigid.at(seen.places), seen.scores))
    return found


def _moved(breast: Breast, moving: Volume, displacement: Displacement) -> Volume:
    """Return the other phase as it looks when it is put in its place."""
    axes = [c + np.arange(n) * s for c, n, s in zip(breast.corner, moving.shape, breast.cell, strict=True)]
    steps = displacement.on(axes) / breast.cell
    places = np.moveaxis(steps, -1, 0) + np.indices(moving.shape, sparse=False)
    moved: Volume = ndimage.map_coordinates(moving, places, order=1, mode="nearest")
    return moved


def _fit(breast: Breast, places: Points, vectors: Points, scores: Points) -> Spline:
    """Fit a smooth free-form displacement to those of the blocks by least squares that outliers hardly move (Geman and McClure)."""
    counts = [int(np.ceil(n * s / KNOTS)) + 3 for n, s in zip(breast.image.shape, breast.cell, strict=True)]
    z, y, x = (_basis(p - c, n) for p, c, n in zip(places.T, breast.corner, counts, strict=True))
    design = np.einsum("pi,pj,pk->pijk", z, y, x).reshape(len(places), -1)
    stiff = STIFFNESS * _bending(counts) + 1e-6 * np.eye(design.shape[1])
    weights = scores
    for _ in range(ROUNDS):
        weighted = design * weights[:, None]
        points = np.linalg.solve(design.T @ weighted + stiff, weighted.T @ vectors)
        misses = np.linalg.norm(design @ points - vectors, axis=1)
        weights = scores / (1 + np.square(misses / max(OUTLIER * float(np.median(misses)), 1e-6))) ** 2
    return Spline(breast.corner, points.reshape(*counts, 3))


def _bending(counts: Sequence[int]) -> Points:
    """Return the matrix of the summed squares of the second differences along each axis of a grid of control points."""
    total = np.zeros((int(np.prod(counts)),) * 2)
    for axis in range(3):
        factors = [np.eye(n) for n in counts]
        second = np.diff(factors[axis], 2, axis=0)
        factors[axis] = second.T @ second
        total += np.kron(np.kron(factors[0], factors[1]), factors[2])
    return total


def _basis(offsets: Points, count: int) -> Points:
    """Return the weight of each of `count` control points at each offset (mm) from the corner, shape (offset, point)."""
    place = np.clip(offsets / KNOTS, 0, count - 3)
    cell = np.minimum(np.floor(place).astype(int), count - 4)
    t = place - cell
    four = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], -1) / 6
    weights = np.zeros((len(offsets), count))
    np.put_along_axis(weights, cell[:, None] + np.arange(4), four, axis=1)
    return weights
