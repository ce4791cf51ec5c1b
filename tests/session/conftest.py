"""Tiny cases, strokes and weights for the session's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.session import Edit, Session

SHAPE = (6, 16, 20)


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


def make_edit(rng: np.random.Generator, base: int, shape: tuple[int, int, int] = SHAPE) -> Edit:
    """A random stroke: a random box and mask, a constant or a value per voxel."""
    corners = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape]
    (z0, z1), (y0, y1), (x0, x1) = corners
    box = ((int(z0), int(z1)), (int(y0), int(y1)), (int(x0), int(x1)))
    mask = rng.random((z1 - z0, y1 - y0, x1 - x0)) < rng.choice([0.1, 0.6, 1.0])
    mask.flat[0] = True
    values = np.array([0, 1, 255], dtype=np.uint8)
    value = int(rng.choice(values)) if rng.random() < 0.7 else rng.choice(values, mask.shape)
    return Edit(box, mask, value, "brush", base)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "session"


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    with Session.create(folder) as opened:
        yield opened


@pytest.fixture
def case_id(session: Session) -> str:
    return session.add_case(make_case())


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[int], Path]:
    def make(seed: int) -> Path:
        path = tmp_path / f"weights-{seed}.safetensors"
        save_file({"layer": np.random.default_rng(seed).normal(size=(4, 5)).astype(np.float32)}, path)
        return path

    return make
