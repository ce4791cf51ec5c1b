"""A session, a case and weights for the session's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_breastseg.session import Session

from .helpers import make_case


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
