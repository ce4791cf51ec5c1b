"""Small cases, strokes, predictions and weights that a seed alone decides, so that another process can know them too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Case, Geometry, Prediction
from napari_breastseg.evaluation.session_trials.history import History, Step
from napari_breastseg.session import Edit

Shape = tuple[int, int, int]

SHAPE: Shape = (6, 16, 20)
_VALUES = np.array([BACKGROUND, TUMOUR, UNDECIDED], dtype=np.uint8)


def small_case(seed: int = 0, shape: Shape = SHAPE) -> Case:
    """Return a case of one noisy phase."""
    images = np.random.default_rng(seed).normal(100, 20, (1, *shape)).astype(np.float32)
    geometry = Geometry((2.0, 0.8, 0.7), np.diag([-0.7, -0.8, 2.0, 1.0]), (shape[2], shape[1], shape[0]))
    return Case(f"trial {seed}", images, geometry)


def small_prediction(seed: int, shape: Shape = SHAPE) -> Prediction:
    """Return a prediction of random probabilities with one map."""
    probability = np.random.default_rng(seed).random(shape, dtype=np.float32)
    refined = (probability > 0.5).astype(np.uint8)
    return Prediction("a" * 64, probability, 1 - refined, refined, {"doubt": 1 - probability})


def small_weights(seed: int, path: Path) -> Path:
    """Write weights to `path` and return it."""
    save_file({"layer": np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32)}, path)
    return path


def random_edit(rng: np.random.Generator, base: int, shape: Shape = SHAPE) -> Edit:
    """Return a random stroke: a random box and mask, and a constant or a value per voxel."""
    corners = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape]
    (z0, z1), (y0, y1), (x0, x1) = corners
    box = ((int(z0), int(z1)), (int(y0), int(y1)), (int(x0), int(x1)))
    mask = rng.random((z1 - z0, y1 - y0, x1 - x0)) < rng.choice([0.1, 0.6, 1.0])
    mask.flat[0] = True
    value = int(rng.choice(_VALUES)) if rng.random() < 0.7 else rng.choice(_VALUES, mask.shape)
    return Edit(box, mask, value, "brush", base)


def scripted_step(history: History) -> Step:
    """Return the step after the last version: the same in every process, and always one that makes a version."""
    rng = np.random.default_rng(history.seq)
    what, target = rng.random(), int(rng.integers(history.seq + 1))
    if what < 0.2 and history.can_undo:
        return "undo"
    if 0.2 <= what < 0.35 and history.can_redo:
        return "redo"
    if 0.35 <= what < 0.4 and not np.array_equal(history.versions[target], history.labels):
        return target
    return random_edit(rng, history.seq, history.labels.shape)


def follow_script(history: History, seq: int) -> None:
    """Take the scripted steps up to the version `seq`."""
    while history.seq < seq:
        history.take(scripted_step(history))
