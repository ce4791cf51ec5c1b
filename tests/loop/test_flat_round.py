"""A learning round on images of one slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Geometry, Modality
from napari_breastseg.compute import here
from napari_breastseg.errors import InputError
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import save_model
from napari_breastseg.progress import Job, Progress, run
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


def test_an_image_that_does_not_tell_is_learned_as_what_it_was_taken_for(session: Session) -> None:
    """Corrections of an image that HA-Net took for ultrasound are no material for a model of mammograms."""
    seen: list[tuple[str, str]] = []

    def caught(target: str, arguments: Mapping[str, Any], title: str) -> Job[Any]:
        seen.extend((one.name, one.modality) for one in arguments["corrections"])
        yield Progress(0, 1, title)
        raise InputError("caught")

    loop = AnnotationLoop(session, "ha-net", "cpu", where=caught)
    geometry = Geometry((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0, 1.0]), (96, 96, 1), "pixel")
    images = np.random.default_rng(0).rayleigh(60, (3, 1, 1, 96, 96)).astype(np.float32)
    for name, image, method in zip(("us", "mg", "nobody's"), images, ("ha-net", "brems-net", None), strict=True):
        case_id = session.add_case(Case(name, image, geometry, modality="image"))
        if method is not None:
            loop.use_method(method)
            run(loop.predict(case_id))
        session.record(case_id, Edit(((0, 1), (0, 90), (0, 90)), np.ones((1, 90, 90), bool), 1, "paint", 0))
    with pytest.raises(InputError, match="caught"):
        run(loop.learn())
    assert seen == [("us", "ultrasound"), ("mg", "mammography"), ("nobody's", "image")]
