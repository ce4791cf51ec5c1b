"""The learner killed at any moment: the session is unharmed, and the round goes on to the weights of one that nobody killed.

``NAPARI_BREASTSEG_KILLS`` kills it so many times instead of the few of every day.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import ComputeError
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import save_model
from napari_breastseg.progress import Progress, run
from napari_breastseg.session import Edit, Session
from napari_breastseg.session.disk.places import WORK
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.from_corrections import SAVE_EVERY

KILLS = int(os.environ.get("NAPARI_BREASTSEG_KILLS", 3))
CONFIG = LearnConfig(steps=2 * SAVE_EVERY * (KILLS + 1), gate=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    preset = get_preset("hcma-unet/ultrasound")
    return save_model(preset.build().state_dict(), {"preset": preset.name}, tmp_path / "model")


def corrected(folder: Path, model: Path) -> Session:
    """Make a session with one corrected image."""
    session = Session.create(folder)
    AnnotationLoop(session, model)
    image = np.random.default_rng(0).rayleigh(40, (1, 1, 200, 256)).astype(np.float32)
    geometry = Geometry((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0, 1.0]), (256, 200, 1))
    case_id = session.add_case(Case("image", image, geometry, modality="ultrasound"))
    for seq, (low, value) in enumerate([(20, 1), (120, 0)]):
        session.record(case_id, Edit(((0, 1), (low, low + 60), (40, 200)), np.ones((1, 60, 160), bool), value, "brush", seq))
    return session


@pytest.mark.slow
def test_a_round_that_is_killed_again_and_again_comes_to_its_end(tmp_path: Path, model: Path) -> None:
    with corrected(tmp_path / "whole", model) as session:
        expected = run(AnnotationLoop(session, device="cpu").learn(CONFIG)).model
    session = corrected(tmp_path / "killed", model)
    rng, first = np.random.default_rng(0), list[int]()

    def kill(step: Progress) -> None:
        """Kill the learner so many steps after its first."""
        if step.message.startswith("Training"):
            first[-1] = step.step if first[-1] < 0 else first[-1]
            if step.step >= first[-1] + after:
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)

    killed = 0
    for _ in range(KILLS):
        before, annotation = session.current_model, session.annotation(session.cases[0])
        after = int(rng.integers(0, 2 * SAVE_EVERY))
        first.append(-1)
        try:
            run(AnnotationLoop(session, device="cpu").learn(CONFIG), kill)
        except ComputeError as error:
            assert "killed" in str(error)
            killed += 1
        assert session.current_model == before and session.rounds() == [] and session.verify() == []
        np.testing.assert_array_equal(session.annotation(session.cases[0]), annotation)
        session.close()
        session = Session.open(tmp_path / "killed")
    outcome = run(AnnotationLoop(session, device="cpu").learn(CONFIG))
    assert killed == KILLS and outcome.model == expected, "bit for bit"
    assert first == sorted(first) and first[-1] > 0, "each began where the one before had stood"
    assert not (session.path / WORK).exists() and session.verify() == []
    session.close()


@pytest.mark.slow
def test_what_was_corrected_since_begins_a_new_round(tmp_path: Path, model: Path) -> None:
    with corrected(tmp_path / "session", model) as session:
        loop, case_id = AnnotationLoop(session, device="cpu"), session.cases[0]
        job = loop.learn(CONFIG)
        while next(job).step < 60:
            pass
        job.close()
        assert any(path.suffix == ".state" for path in (session.path / WORK).iterdir())
        assert not list((session.path / WORK).glob("*.npy")), "copies of images do not stay"
        session.record(case_id, Edit(((0, 1), (0, 10), (0, 10)), np.ones((1, 10, 10), bool), 0, "brush", 2))
        seen: list[int] = []
        run(loop.learn(CONFIG), lambda step: seen.append(step.step) if step.message.startswith("Training") else None)
        assert seen[0] == 0
