"""A person's sparse corrections on a model's working grid, and how well a model meets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Case, Geometry, Modality, slices
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.methods.preset import Preset

FORGETTING, FLOOR = 0.5, 0.1
"""Weight of a case falls by half with every round since its last correction, but not below a tenth."""
GOOD_VIEW = 0.5
"""A window takes part if it shows this share of what the window that shows a component best shows of it."""

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Correction:
    """A corrected case as files, so that it can be handed to another process.

    Parameters
    ----------
    name : str
        Different for every case.
    images : Path
        .npy, float32, shape (phase, z, y, x).
    geometry : Geometry
    learn, held_out : Path
        .npy, uint8, shape (z, y, x): corrections to train on and corrections kept for the gate; 0, 1, or 255 where undecided.
    rounds_ago : int
        Learning rounds since the last correction.
    done : bool
        Whether the person is done with the case: all that nobody painted is healthy, and a Dice of the case means something.
    kept_back : bool
        Whether the whole case is held out and never trained on.
    times : tuple of float
        Seconds of the phases; empty if unknown.
    modality : str
    """

    name: str
    images: Path
    geometry: Geometry
    learn: Path
    held_out: Path
    rounds_ago: int = 0
    done: bool = False
    kept_back: bool = False
    times: tuple[float, ...] = ()
    modality: Modality = "dce-mri"


@dataclass(frozen=True)
class CorrectedWindow:
    """One of the windows in which the case is predicted, with the corrections that lie in it.

    Attributes
    ----------
    case : str
    image : ndarray, shape (channel, z, y, x), float32
    learn, held_out : ndarray, shape (z, y, x), uint8
        0, 1, or 255 where undecided; no voxel is decided in both.
    weight : float
        How often it is drawn, relative to other windows: 1 for each corrected component, shared by the windows that show it well.
    rounds_ago : int
    done, kept_back : bool
        Of the case, see :class:`Correction`.
    """

    case: str
    image: npt.NDArray[np.float32]
    learn: Labels
    held_out: Labels
    weight: float
    rounds_ago: int
    done: bool
    kept_back: bool = False

    @property
    def recency(self) -> float:
        """Weight of the case by its age."""
        return max(FLOOR, FORGETTING**self.rounds_ago)

    @property
    def taught(self) -> Labels:
        """What the window teaches: the corrections to train on, and in a case that is done that all else nobody painted is healthy."""
        return np.where(self._healthy, BACKGROUND, self.learn).astype(np.uint8)

    @property
    def decided(self) -> Labels:
        """All that is decided in the window, on either side."""
        return np.where(self.held_out != UNDECIDED, self.held_out, self.taught)

    @property
    def _healthy(self) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (self.learn == UNDECIDED) & (self.held_out == UNDECIDED) & self.done
        return found


def mirror(window: CorrectedWindow) -> CorrectedWindow:
    """Return the window with left and right exchanged."""
    image, learn, held_out = np.flip(window.image, -1).copy(), np.flip(window.learn, -1).copy(), np.flip(window.held_out, -1).copy()
    return replace(window, image=image, learn=learn, held_out=held_out)


def load_windows(correction: Correction, preset: Preset) -> list[CorrectedWindow]:
    """Read a correction and cut out those windows, of the size of those in training, that show the corrected components well."""
    images = np.load(correction.images, mmap_mode="r")
    case = Case(correction.name, images, correction.geometry, correction.times, correction.modality)
    learn, held_out = np.load(correction.learn), np.load(correction.held_out)
    found = []
    for grid in plan_grids(case, preset)[0]:
        known = sparse_labels(learn[slices(grid.box)], grid.shape)
        test = sparse_labels(held_out[slices(grid.box)], grid.shape)
        known[test != UNDECIDED] = UNDECIDED  # what is a test does not train, even where both fall into one voxel of the working grid
        parts = [slices(window) for window in grid.windows]
        for_learning, for_judging = shown_by(known, parts), shown_by(test, parts)
        for window, part, trains, judges in zip(grid.windows, parts, for_learning, for_judging, strict=True):
            if trains or judges:
                image, labels = grid.window(window), (known[part], test[part])
                one = correction
                found.append(CorrectedWindow(case.name, image, *labels, trains, one.rounds_ago, one.done, one.kept_back))
    return found


def shown_by(labels: Labels, parts: Sequence[tuple[slice, ...]]) -> npt.NDArray[np.float64]:
    """Return how many of the corrected components each window stands for; a component is shared by all windows that show it well.

    So a small correction counts as much as a big one. A component is a connected region of one value.
    """
    share = np.zeros(len(parts))
    for value in (BACKGROUND, TUMOUR):
        components, count = ndimage.label(labels == value, np.ones((3, 3, 3)))
        if count:
            voxels = np.array([np.bincount(components[part].ravel(), minlength=count + 1)[1:] for part in parts])
            good = (voxels > 0) & (voxels >= GOOD_VIEW * voxels.max(0))
            share += (good / np.maximum(good.sum(0), 1)).sum(1)
    return share


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


def decided_dice(judged: Iterable[tuple[npt.NDArray[np.bool_], Labels]]) -> float | None:
    """Dice over the decided voxels of all pairs of mask and labels together; 1 if neither shows tumour there, None if none is decided."""
    both = total = decided = 0
    for mask, labels in judged:
        known, tumour = labels != UNDECIDED, labels == TUMOUR
        decided += int(known.sum())
        both += int((mask & tumour).sum())
        total += int((mask & known).sum()) + int(tumour.sum())
    if decided == 0:
        return None
    return 2 * both / total if total else 1.0


def balanced_accuracy(judged: Iterable[tuple[Labels, npt.NDArray[np.bool_]]]) -> float | None:
    """Mean recall of tumour and background over pairs of sparse labels and masks; None if no voxel is decided."""
    hits, counts = np.zeros(2), np.zeros(2)
    for labels, mask in judged:
        for value in (BACKGROUND, TUMOUR):
            chosen = mask[labels == value]
            hits[value] += (chosen == bool(value)).sum()
            counts[value] += chosen.size
    present = counts > 0
    return float((hits[present] / counts[present]).mean()) if present.any() else None
