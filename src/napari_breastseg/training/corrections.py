"""A person's sparse corrections on a model's working grid, and how well a model meets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Case, Geometry, slices
from napari_breastseg.inference.windows import plan_windows
from napari_breastseg.methods.preset import Preset
from napari_breastseg.preprocess.resample import resample, working_shape
from napari_breastseg.training.sampling import Points, Volume

HELD_OUT = 254
"""Label of a voxel that is corrected but kept for the gate: neither trained on nor tied to the previous model."""
FORGETTING, FLOOR = 0.5, 0.1
"""Weight of a case falls by half with every round since its last correction, but not below a tenth."""

Labels = npt.NDArray[np.uint8]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""(channel, z, y, x) of one window to the probability of tumour, (z, y, x)."""


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
class CorrectedVolume:
    """A corrected case on the working grid.

    Attributes
    ----------
    volume : Volume
        Its labels are 0, 1, ``HELD_OUT`` or 255.
    held_out : ndarray, shape (z, y, x), uint8
        0, 1 or 255.
    components : list of ndarray, each of shape (n, 3)
        Voxels of each connected corrected region; regions are drawn with equal chance so that one long stroke cannot dominate.
    weight : float
    """

    volume: Volume
    held_out: Labels
    components: list[Points]
    weight: float


def load_correction(correction: Correction, preset: Preset) -> CorrectedVolume:
    """Read a correction and bring it to the preset's working grid."""
    case = Case(correction.name, np.load(correction.images, mmap_mode="r"), correction.geometry)
    shape = working_shape(case.shape, case.geometry.spacing, preset.spacing)
    learn = sparse_labels(np.load(correction.learn), shape)
    held_out = sparse_labels(np.load(correction.held_out), shape)
    held_out[learn != UNDECIDED] = UNDECIDED
    regions, count = ndimage.label(learn != UNDECIDED, np.ones((3, 3, 3)))
    components = [np.argwhere(regions == index + 1) for index in range(count)]
    labels = np.where(held_out != UNDECIDED, HELD_OUT, learn).astype(np.uint8)
    volume = Volume(resample(preset.inputs(case), shape).astype(np.float16), labels, {})
    return CorrectedVolume(volume, held_out, components, max(FLOOR, FORGETTING**correction.rounds_ago))


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


def balanced_accuracy(corrected: Sequence[CorrectedVolume], patch: Sequence[int], predict: Predict) -> tuple[float, float | None]:
    """Mean recall of tumour and background on the corrections that were trained on, and on those held out (None without any)."""
    hits = np.zeros((2, 2))
    counts = np.zeros((2, 2))
    for one in corrected:
        trained = np.where(one.volume.labels == HELD_OUT, UNDECIDED, one.volume.labels)
        probability = _where_labelled(one, patch, predict)
        for row, labels in enumerate((trained, one.held_out)):
            for value in (BACKGROUND, TUMOUR):
                chosen = probability[labels == value] > 0.5
                hits[row, value] += (chosen == bool(value)).sum()
                counts[row, value] += chosen.size
    recalls = [hits[row][counts[row] > 0] / counts[row][counts[row] > 0] for row in (0, 1)]
    return float(recalls[0].mean()), float(recalls[1].mean()) if len(recalls[1]) else None


def _where_labelled(one: CorrectedVolume, patch: Sequence[int], predict: Predict) -> npt.NDArray[np.float32]:
    """Probability in windows around the labelled voxels; 0 elsewhere."""
    labelled = one.volume.labels != UNDECIDED
    probability = np.zeros(labelled.shape, np.float32)
    for window in plan_windows(labelled.shape, patch, overlap=0.25):
        if labelled[slices(window)].any():
            part = predict(one.volume.channels[(slice(None), *slices(window))].astype(np.float32))
            probability[slices(window)] = np.maximum(probability[slices(window)], part)
    return probability
