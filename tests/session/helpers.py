"""Tiny cases and strokes, and an oracle that knows every version."""

from __future__ import annotations

import numpy as np

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.session import Edit

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


class Oracle:
    """Every version as a whole array, and the two stacks that every editor has."""

    def __init__(self) -> None:
        self.versions = [np.full(SHAPE, 255, np.uint8)]
        self.undos: list[tuple[np.ndarray, np.ndarray]] = []
        self.redos: list[tuple[np.ndarray, np.ndarray]] = []

    def record(self, edit: Edit) -> None:
        before = self.versions[-1]
        after = before.copy()
        (z0, z1), (y0, y1), (x0, x1) = edit.box
        part = after[z0:z1, y0:y1, x0:x1]
        part[edit.mask] = edit.value if isinstance(edit.value, int) else edit.value[edit.mask]
        self.versions.append(after)
        self.undos.append((before, after))
        self.redos.clear()

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        if not self.undos:
            return False
        self.redos.append(self.undos.pop())
        self.versions.append(self.redos[-1][0])
        return True

    def redo(self) -> bool:
        """Take the last undo back; False if there is none."""
        if not self.redos:
            return False
        self.undos.append(self.redos.pop())
        self.versions.append(self.undos[-1][1])
        return True

    def next(self) -> Edit | str:
        """What the writer of the kill tests does after the last version, the same in every process."""
        seq = len(self.versions) - 1
        rng = np.random.default_rng(seq)
        if rng.random() < 0.2 and self.undos:
            return "undo"
        if rng.random() < 0.2 and self.redos:
            return "redo"
        return make_edit(rng, seq)

    def follow(self, seq: int) -> None:
        """Do what the writer did until its version `seq`."""
        while len(self.versions) <= seq:
            what = self.next()
            if isinstance(what, Edit):
                self.record(what)
            else:
                getattr(self, what)()
