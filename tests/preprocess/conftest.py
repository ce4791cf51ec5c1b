from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg import phantom as room
from napari_breastseg.case import Case
from napari_breastseg.phantom import Phantom, acquisition


@dataclass(frozen=True)
class Moving:
    """A phantom, and by how much its first phase was moved: ``moved(x) = still(x + field(x))``, field in mm, shape (3, z, y, x)."""

    phantom: Phantom
    field: npt.NDArray[np.float32]

    @property
    def case(self) -> Case:
        return self.phantom.case


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Moving]:
    """Make phantoms whose motion is known, or which do not move at all; anatomy, uptake and noise of a seed are the same."""
    move, draw = acquisition._move, room.draw_protocol

    def make(seed: int, shape: tuple[int, int, int], phases: int = 2, *, still: bool = False, noise: float = 1.0) -> Moving:
        fields = []

        def watched(rng: np.random.Generator, image: Any, spacing: Any, millimetres: float) -> Any:
            ramps = np.meshgrid(*(np.arange(n, dtype=np.float32) * s for n, s in zip(image.shape, spacing, strict=True)), indexing="ij")
            fields.append(np.stack([move(copy.deepcopy(rng), ramp, spacing, millimetres) - ramp for ramp in ramps]))
            moved = move(rng, image, spacing, millimetres)
            return image if still else moved

        monkeypatch.setattr(acquisition, "_move", watched)
        monkeypatch.setattr(room, "draw_protocol", lambda *a: replace(draw(*a), noise=noise))
        return Moving(room.make_phantom(seed, shape, phases=phases), fields[0])

    return make
