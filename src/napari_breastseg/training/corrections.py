"""A person's sparse corrections on a model's working grid, and how well a model meets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Case, Geometry, slices
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.methods.preset import Preset

FORGETTING, FLOOR = 0.5, 0.1
"""Weight of a case falls by half with every round since its last correction, but not below a tenth."""

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Correction:
    """A corrected case as files, so that it can be handed to another process.

    Parameters
    ----------
    name : str
    images : Path
        .npy, float32, shape (phase, z, y, x).
    geometry : Geometry
    learn, held_out : Path
        .npy, uint8, shape (z, y, x): corrections to train on and corrections kept for the gate; 0, 1, or 255 where undecided.
    rounds_ago : int
        Learning rounds since the last correction.
    """

    name: str
    images: Path
    geometry: Geometry
    learn: Path
    held_out: Path
    rounds_ago: int = 0


@dataclass(frozen=True)
class CorrectedWindow:
    """One of the windows in which the case is predicted, with the corrections that lie in it.

    Attributes
    ----------
    image : ndarray, shape (channel, z, y, x), float32
    learn, held_out : ndarray, shape (z, y, x), uint8
        0, 1, or 255 where undecided; no voxel is decided in both.
    weight : float
        How often it is drawn, relative to other windows; those of one case share the case's weight.
    """

    image: npt.NDArray[np.float32]
    learn: Labels
    held_out: Labels
    weight: float


def load_windows(correction: Correction, preset: Preset) -> list[CorrectedWindow]:
    """Read a correction and cut out the windows of its prediction that hold any."""
    case = Case(correction.name, np.load(correction.images, mmap_mode="r"), correction.geometry)
    learn, held_out = np.load(correction.learn), np.load(correction.held_out)
    found = []
    for grid in plan_grids(case, preset)[0]:
        known = sparse_labels(learn[slices(grid.box)], grid.shape)
        test = sparse_labels(held_out[slices(grid.box)], grid.shape)
        known[test != UNDECIDED] = UNDECIDED  # what is a test does not train, even where both fall into one voxel of the working grid
        for window in grid.windows:
            parts = known[slices(window)], test[slices(window)]
            if any((part != UNDECIDED).any() for part in parts):
                found.append((grid.window(window), *parts))
    weight = max(FLOOR, FORGETTING**correction.rounds_ago) / max(len(found), 1)
    return [CorrectedWindow(image, known, test, weight) for image, known, test in found]


def sparse_labels(labels: Labels, shape: Sequence[int]) -> Labels:
    """Bring sparse labels to another grid without losing thin strokes: each new voxel takes the majority of its decided voxels."""
    for axis, size in enumerate(shape):
        if size > labels.shape[axis]:
            nearest = ((np.arange(size) + 0.5) * labels.shape[axis] / size).astype(int)
            labels = labels.take(nearest, axis=axis)
    votes = np.zeros((2, int(np.prod(shape))), np.int64)
    for value in (BACKGROUND, TUMOUR):
        found = np.argwhere(labels == value)
        target = ((found + 0.5) * np.array(shape) / np.array(labels.shape)).astype(int)
        votes[value] = np.bincount(np.ravel_multi_index(tuple(target.T), tuple(shape)), minlength=votes.shape[1])
    decided = np.where(votes.any(axis=0), votes[1] >= votes[0], UNDECIDED)
    return decided.reshape(tuple(shape)).astype(np.uint8)


def balanced_accuracy(judged: Iterable[tuple[Labels, npt.NDArray[np.float32]]]) -> float | None:
    """Mean recall of tumour and background over pairs of sparse labels and probability; None if no voxel is decided."""
    hits, counts = np.zeros(2), np.zeros(2)
    for labels, probability in judged:
        for value in (BACKGROUND, TUMOUR):
            chosen = probability[labels == value] > 0.5
            hits[value] += (chosen == bool(value)).sum()
            counts[value] += chosen.size
    present = counts > 0
    return float((hits[present] / counts[present]).mean()) if present.any() else None
