"""Tiny cases and predictions with names that are no names for files."""

from __future__ import annotations

import numpy as np

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.evaluation.session_trials.material import SHAPE


def make_case(seed: int = 0, phases: int = 2, shape: tuple[int, int, int] = SHAPE) -> Case:
    images = np.random.default_rng(seed).normal(100, 20, (phases, *shape)).astype(np.float32)
    affine = np.diag([-0.7, -0.8, 2.0, 1.0])
    affine[:3, 3] = (12.0, -3.0, 40.0)
    geometry = Geometry((2.0, 0.8, 0.7), affine, (shape[2], shape[1], shape[0]))
    return Case(f"Käse {seed}/../x", images, geometry, tuple(60.0 * n for n in range(phases)), "dce-mri", {"scanner": "phantom"})


def make_prediction(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Prediction:
    probability = np.random.default_rng(seed).random(shape, dtype=np.float32)
    refined = (probability > 0.5).astype(np.uint8)
    maps = {"../../attention": probability * 2, "channels": np.stack([probability, probability])}
    return Prediction("a" * 64, probability, 1 - refined, refined, maps, {"device": "cpu", "seconds": np.float32(1.5)})
