from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import Box
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import save_model
from napari_breastseg.session import Edit, Session

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model."""
    torch.manual_seed(0)
    network = get_preset("hcma-unet").build()
    return save_model(network.state_dict(), {"preset": "hcma-unet/practical", "parent": None}, tmp_path_factory.mktemp("weights"))


@pytest.fixture
def paint(session: Session, case_id: str) -> Callable[..., int]:
    """Paint a whole box of the tiny case."""

    def painted(box: Box, value: int = 1) -> int:
        mask = np.ones([b - a for a, b in box], bool)
        return session.record(case_id, Edit(box, mask, value, "brush", session.seq(case_id)))

    return painted


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Choose the stand-in for the learner in the child process."""
    monkeypatch.syspath_prepend(str(HERE))

    def choose(name: str) -> None:
        monkeypatch.setattr("napari_breastseg.loop.annotation_loop.LEARNER", f"learning_targets:{name}")

    return choose
