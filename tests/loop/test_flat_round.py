"""A learning round on images of one slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Geometry, Modality
from napari_breastseg.compute import here
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import save_model
from napari_breastseg.progress import run
from napari_breastseg.session import Edit, Session
from napari_breastseg.training.config import LearnConfig


@pytest.mark.parametrize("name", ["hcma-unet/ultrasound", "ha-net/compact", "brems-net/compact"])
def test_images_are_predicted_corrected_and_learned_from(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("napari_breastseg.training.from_corrections.PRACTICE_SEEDS", range(9000, 9001))
    monkeypatch.setattr("napari_breastseg.training.from_corrections.EXAM_SEEDS", (9100,))
    torch.manual_seed(0)
    preset = get_preset(name)
    model = save_model(preset.build().state_dict(), {"preset": preset.name}, tmp_path)
    loop = AnnotationLoop(session, str(model), "cpu", where=here)
    modality: Modality = "mammography" if name.startswith("brems") else "ultrasound"
    y, x = np.mgrid[:200, :256]
    for number in range(2):
        mass = ((y - 100) ** 2 + (x - 90 - 60 * number) ** 2 < 40**2)[None]
        image = np.random.default_rng(number).rayleigh(np.where(mass, 15, 60)).astype(np.float32)
        geometry = Geometry((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0, 1.0]), (256, 200, 1))
        case_id = session.add_case(Case(f"image {number}", image[None], geometry, modality=modality))
        prediction = run(loop.predict(case_id))
        assert prediction.refined.shape == (1, 200, 256)
        for value, box in ((1, ((0, 1), (80, 120), (80, 160))), (0, ((0, 1), (10, 40), (10, 240))), (0, ((0, 1), (160, 190), (10, 240)))):
            session.record(case_id, Edit(box, np.ones([high - low for low, high in box], bool), value, "paint", session.seq(case_id)))
    outcome = run(loop.learn(LearnConfig(steps=2, gate=False)))
    assert outcome.adopted and session.current_model == outcome.model
    assert all(np.isfinite(value) for value in (outcome.figures["candidate"]["corrected"], outcome.seconds))
    assert run(loop.predict(session.cases[0])).model == outcome.model
