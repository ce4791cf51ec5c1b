"""Where small blocks of one phase of a case are found in another, whatever the contrast agent does.

Blocks of edges are compared, not of intensities: of the normalised gradient n of each phase the tensor ``n n^T`` is correlated, which is
the normalised gradient field of Haber and Modersitzki (Methods Inf Med 2006;45:292-299, eq. 3) for all shifts at once, since
``<n n^T, m m^T> = (n . m)^2``. Uptake changes how strong an edge is and which side of it is brighter; neither counts here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from napari_breastseg.case import Box, Case, slices
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.breast_region import breast_mask, breast_region
from napari_breastseg.preprocess.overview import NOT_FINITE, Overview
from napari_breastseg.preprocess.resample import Volume, resample_read, working_shape

Points = npt.NDArray[np.float64]
Reading = Callable[[tuple[slice, slice, slice]], Volume]
"""Returns one phase within a box of the case, shape (z, y, x)."""

STEP = 1.5
"""Largest voxel (mm) of the working grid; voxels that are larger stay as they are."""
BLOCK, REACH = 24.0, 10.0
"""Edge of a block and the furthest that its counterpart is looked for, mm; larger where voxels are."""
LEAST_BLOCK, LEAST_REACH = 16, 4
"""The same in voxels."""
SMOOTHING = 0.7
"""Standard deviation (voxels) of the Gaussian under which gradients are taken."""
EDGES, SCORE = 0.05, 0.4
"""A block counts if its edges are at least so strong (0 to 1 at every voxel) and so like their counterpart (1 is equal)."""


@dataclass(frozen=True)
class Displacements:
    """Where blocks of the reference phase are found in another phase.

    Attributes
    ----------
    places : ndarray, shape (block, 3)
        Centres of the blocks (z, y, x), mm from the centre of the case's first voxel.
    vectors : ndarray, shape (block, 3)
        From there to the same tissue in the other phase, mm.
    scores : ndarray, shape (block,)
        How alike the edges are, up to 1.
    unmatched : int
        Blocks with edges whose counterpart was not found.
    """

    places: Points
    vectors: Points
    scores: Points
    unmatched: int


@dataclass(frozen=True)
class Breast:
    """The reference phase in the box of one breast, on the working grid.

    Attributes
    ----------
    box : Box
        Of the case.
    cell, corner : ndarray, shape (3,)
        Voxel (z, y, x) in mm, and the centre of the first one, mm from the centre of the case's first voxel.
    image : ndarray, shape (z, y, x), float32
    mask : ndarray of bool, shape (z, y, x)
        The breast in front of the chest wall.
    """

    box: Box
    cell: Points
    corner: Points
    image: Volume
    mask: npt.NDArray[np.bool_]

    @cached_property
    def edges(self) -> Volume:
        """Edges of the image; see :func:`edge_tensor`."""
        return edge_tensor(self.image, self.cell, self.mask)

    def read(self, reading: Reading) -> Volume:
        """Read another phase on the same grid, shape (z, y, x)."""
        return _read(reading, self.box, self.image.shape)

    def displacements(self, moving: Volume, hop: float = 1.0) -> Displacements:
        """Find the blocks of the reference in another phase on the same grid.

        Parameters
        ----------
        moving : ndarray, shape (z, y, x)
        hop : float
            Distance between blocks, as a share of a block.
        """
        typical = float(np.cbrt(self.cell.prod()))
        size = np.minimum(self.image.shape, np.round(max(BLOCK, LEAST_BLOCK * typical) / self.cell).astype(int).clip(2))
        reach = np.round(max(REACH, LEAST_REACH * typical) / self.cell).astype(int).clip(2)
        window = _hann(size[0])[:, None, None] * _hann(size[1])[:, None] * _hann(size[2])
        padded = np.pad(edge_tensor(moving, self.cell, self.mask), ((0, 0), *((r, r) for r in reach)))
        energy = _weighted(np.square(padded).sum(0), size)
        places, vectors, scores, unmatched = [], [], [], 0
        for start in product(*(_starts(n, s, hop) for n, s in zip(self.image.shape, size, strict=True))):
            here = tuple(slice(low, low + s) for low, s in zip(start, size, strict=True))
            around = tuple(slice(low, low + s + 2 * r) for low, s, r in zip(start, size, reach, strict=True))
            block = self.edges[(slice(None), *here)]
            if (window * self.mask[here]).sum() < 0.5 or (window * np.square(block).sum(0)).sum() < EDGES:
                continue
            shifts = tuple(slice(low, low + 2 * r + 1) for low, r in zip(start, reach, strict=True))
            found, score = _peak(_likeness(block, padded[(slice(None), *around)], energy[shifts], window))
            if found is None or score < SCORE:
                unmatched += 1
                continue
            places.append(self.corner + (np.array(start) + (size - 1) / 2) * self.cell)
            vectors.append((found - reach) * self.cell)
            scores.append(score)
        return Displacements(np.array(places).reshape(-1, 3), np.array(vectors).reshape(-1, 3), np.array(scores), unmatched)


def find_breasts(case: Case, reference: int) -> list[Breast]:
    """Read the reference phase in the box of each breast."""
    seen = Overview.of(case)
    coarse = breast_mask(seen, seen.image.shape)
    reading, spacing = phase_reading(case, reference), np.array(case.geometry.spacing)
    breasts = []
    for box in breast_region(seen).boxes:
        low, lengths = np.array([side[0] for side in box]), [b - a for a, b in box]
        shape = working_shape(lengths, case.geometry.spacing, [max(STEP, s) for s in spacing])
        cell = spacing * lengths / shape
        image = _read(reading, box, shape)
        refuse_unusable(case, reference, image)
        # The cell of the coarse mask in which the middle of each voxel lies.
        middles = ((a + (np.arange(m) + 0.5) * n / m) for a, n, m in zip(low, lengths, shape, strict=True))
        nearest = [(middle * m / n).astype(int) for middle, n, m in zip(middles, case.shape, coarse.shape, strict=True)]
        breasts.append(Breast(box, cell, low * spacing + (cell - spacing) / 2, image, coarse[np.ix_(*nearest)]))
    return [breast for breast in breasts if breast.mask.any()]


def phase_reading(case: Case, phase: int) -> Reading:
    """Return how one phase of a case is read, part by part."""
    return lambda place: np.asarray(case.images[(phase, *place)], np.float32)


def edge_tensor(image: Volume, cell: Points, mask: npt.NDArray[np.bool_]) -> Volume:
    """Return the six different elements of ``n n^T``, shape (6, z, y, x); those off the diagonal times the square root of 2.

    n is the gradient over ``sqrt(|gradient|^2 + eta^2)``, eta the median of the gradient's length in the mask: noise counts little.
    """
    smooth = ndimage.gaussian_filter(image, SMOOTHING)
    z, y, x = (ndimage.correlate1d(smooth, [-0.5 / step, 0, 0.5 / step], axis=axis) for axis, step in enumerate(cell))
    square = z * z + y * y + x * x
    eta = np.median(square[mask]) if mask.any() else square.mean()
    n = np.stack([z, y, x]) / np.sqrt(square + np.float32(max(eta, np.finfo(np.float32).tiny)))
    twice = np.float32(np.sqrt(2))
    return np.concatenate([n * n, twice * n[:1] * n[1:], twice * n[1:2] * n[2:]])


def _read(reading: Reading, box: Box, shape: Sequence[int]) -> Volume:
    z, y, x = slices(box)
    return resample_read(lambda slab: reading((slice(z.start + slab.start, z.start + slab.stop), y, x)), [b - a for a, b in box], shape)


def refuse_unusable(case: Case, phase: int, image: Volume) -> None:
    """Refuse a phase that is constant, or holds voxels that are no numbers."""
    if not np.isfinite(image).all():
        raise InputError(NOT_FINITE.format(case.name))
    if image.min() == image.max():
        raise InputError(f"Phase {phase} of {case.name} is constant where the breasts are. Export it again.")


def _starts(length: int, size: int, hop: float) -> list[int]:
    """Spread blocks evenly from edge to edge."""
    count = max(round((length - size) / (hop * size)), int(length > size)) + 1
    return [int(start) for start in np.round(np.linspace(0, length - size, count))]


def _hann(size: int) -> Volume:
    """Return a Hann window whose sum is 1 and which is nowhere 0."""
    window: Volume = np.hanning(size + 2)[1:-1].astype(np.float32)
    window /= window.sum()
    return window


def _weighted(volume: Volume, size: npt.NDArray[np.int_]) -> Volume:
    """Return the windowed sum over every block of a volume, by the index of its first voxel."""
    for axis, n in enumerate(size):
        whole = ndimage.correlate1d(volume, _hann(n), axis=axis, mode="constant")
        volume = whole[(slice(None),) * axis + (slice(n // 2, n // 2 + whole.shape[axis] - n + 1),)]
    return volume


def _likeness(block: Volume, around: Volume, energy: Volume, window: Volume) -> Volume:
    """Return the cosine between the edges of a block and those around its place, for every shift within reach.

    Parameters
    ----------
    block : ndarray, shape (6, z, y, x)
    around : ndarray, shape (6, z + 2 reach, y + 2 reach, x + 2 reach)
    energy : ndarray, shape (2 reach + 1, 2 reach + 1, 2 reach + 1)
        Windowed square of what lies around, for each shift.
    window : ndarray, shape (z, y, x)
    """
    shape = [fft.next_fast_len(n, real=True) for n in around.shape[1:]]
    here, there = (fft.rfftn(edges, shape, axes=(1, 2, 3)) for edges in (block * window, around))
    both = fft.irfftn((np.conj(here) * there).sum(0), shape)[tuple(slice(0, n) for n in energy.shape)]
    own = float((window * np.square(block).sum(0)).sum())
    likeness: Volume = both / np.sqrt(own * np.maximum(energy, 1e-3 * own))
    return likeness


def _peak(likeness: Volume) -> tuple[Points | None, float]:
    """Return where the highest value lies, to a fraction of a voxel by parabolas, and that value; no place if it lies at the border."""
    top = np.unravel_index(int(np.argmax(likeness)), likeness.shape)
    height = float(likeness[top])
    place = np.array(top, np.float64)
    for axis, (index, length) in enumerate(zip(top, likeness.shape, strict=True)):
        if not 0 < index < length - 1:
            return None, height
        before, after = (float(likeness[(*top[:axis], index + step, *top[axis + 1 :])]) for step in (-1, 1))
        place[axis] += 0.5 * (before - after) / min(before + after - 2 * height, -1e-9)
    return place, height
