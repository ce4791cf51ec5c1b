from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.session import Session

if TYPE_CHECKING:
    from napari_breastseg.preprocess.motion import PhaseMotion


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real examinations, named by NAPARI_BREASTSEG_DATA; the test is skipped without it."""
    folder = os.environ.get("NAPARI_BREASTSEG_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_BREASTSEG_DATA names no folder of real examinations")
    return Path(folder)


@pytest.fixture
def tiny_case() -> Case:
    """Three random phases of 12 x 16 x 20 voxels of 2 x 1.5 x 1 mm (z, y, x), from a file that is stored in RAS order."""
    images = np.random.default_rng(0).normal(200.0, 40.0, (3, 12, 16, 20)).astype(np.float32)
    affine = np.array([[1.0, 0, 0, -40.0], [0, 1.5, 0, -60.0], [0, 0, 2.0, 15.0], [0, 0, 0, 1.0]])
    geometry = Geometry(spacing=(2.0, 1.5, 1.0), affine=affine, original_shape=(20, 16, 12))
    return Case(name="tiny", images=images, geometry=geometry, times=(0.0, 90.0, 180.0))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session.create(tmp_path / "session") as opened:
        yield opened


@pytest.fixture
def case_id(session: Session, tiny_case: Case) -> str:
    return session.add_case(tiny_case)


@pytest.fixture
def aligning(monkeypatch: pytest.MonkeyPatch) -> tuple[PhaseMotion, PhaseMotion]:
    """A stand-in that shifts the phase before contrast by one voxel, and the motion that it tells of before and after."""
    from napari_breastseg.loop import aligned
    from napari_breastseg.preprocess.alignment import Aligned, AlignedPhase
    from napari_breastseg.preprocess.motion import PhaseMotion

    far, near = PhaseMotion(0, 1.5, 2.5, 1.2, 2.0, 40, 2), PhaseMotion(0, 0.2, 0.4, 0.15, 0.3, 41, 1)

    def align(case: Case, kind: str) -> Any:
        images = np.asarray(case.images[:]).copy()
        images[0] = np.roll(images[0], 1, axis=1)
        metadata = {**case.metadata, "aligned": {"kind": kind}}
        return Aligned(replace(case, images=images, metadata=metadata), 1, (AlignedPhase(0, "deformable", "moved", far, near),))
        yield

    monkeypatch.setattr(aligned, "align", align)
    return far, near
