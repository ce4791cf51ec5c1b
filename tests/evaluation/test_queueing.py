"""The comparison of orders with stand-ins for queue, learner and predictor: what is picked, counted and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import queueing as protocol
from napari_breastseg.evaluation.protocols.material import Examination
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.loop.queue import Suggestion
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = get_preset("hcma-unet").build()
    card = {"preset": "hcma-unet/practical", "parent": None, "right": 0}
    return save_model(network.state_dict(), card, tmp_path_factory.mktemp("weights"))


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tiny_case: Case, tmp_path: Path) -> list[str]:
    """Stand-ins: a model finds the more of the tumour the more valuable cases were corrected; the queue knows which those are."""
    truth = np.zeros(tiny_case.shape, np.uint8)
    truth[2:6, 2:6, 2:12] = 1
    judged: list[str] = []

    def mixture(first: int, cases: int) -> list[Examination]:
        named = [
            f"{'test' if first == protocol.TEST else 'valuable' if number >= cases - 4 else 'dull'} {number}" for number in range(cases)
        ]
        return [Examination(replace(tiny_case, name=name, images=tiny_case.images + n), truth) for n, name in enumerate(named)]

    def predict(case: Case, model: Model, *, device: str, region: str = "breast", mirror: bool = False) -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        judged.append(case.name)
        mask = truth.copy()
        mask[:, :, 4 + 2 * int(model.card["right"]) :] = 0
        return Prediction(model.sha, mask.astype(np.float32), mask, mask)

    def learn(loop: AnnotationLoop, config: Any) -> Job[tuple[bool, list[str]]]:
        yield Progress(0, 1, "learning")
        assert not config.gate
        done = [loop.session.case(one) for one in loop.session.cases if loop.session.seq(one)]
        assert all((loop.session.mask(one) == truth).all() for one in loop.session.cases if loop.session.seq(one))
        parent = load_model(loop.session.model_path(str(loop.session.current_model)))
        card = {**parent.card, "right": sum("valuable" in one.name for one in done), "parent": parent.sha}
        other = {key: torch.rand_like(value) for key, value in parent.weights.items()}
        loop.use(save_model(other, card, tmp_path / "learned"))
        return True, []

    def queue(session: Session, device: str) -> Job[list[Suggestion]]:
        yield Progress(0, 1, "looking")
        waiting = sorted((one for one in session.cases if session.seq(one) == 0), reverse=True)
        return [Suggestion(one, 0.5, 1.0, None, None, ()) for one in waiting]  # "valuable" comes before "dull"

    for name, stand_in in {"mixture": mixture, "predict": predict, "learn": learn, "queue": queue}.items():
        monkeypatch.setattr(protocol, name, stand_in)
    monkeypatch.setattr("napari_breastseg.loop.annotation_loop.predict", predict)
    return judged


def test_orders_are_compared_pool_by_pool_and_kept(looked: list[str], weights: Path, tmp_path: Path) -> None:
    report = run(protocol.queueing(tmp_path / "out", 8, 2, str(weights), "cpu"))
    by_queue = [one for one in report["runs"] if one["order"] == "queue"]
    # Of 10 columns the model finds 2, and 2 more for each valuable case: Dice 2 n / (n + 10).
    expected = [2 * n / (n + 10) for n in (2, 6, 10)]
    for one in by_queue:
        assert one["dice"] == pytest.approx(expected, abs=1e-4)
        assert one["area"] == pytest.approx((expected[0] / 2 + expected[1] + expected[2] / 2) / 2)
        assert all("valuable" in name for name in one["picked"]) and len(set(one["picked"])) == 4 and one["adopted"] == [True, True]
    randomly = [one for one in report["runs"] if one["order"] == "random"]
    assert all(len(set(one["picked"])) == 4 for one in randomly) and randomly[0]["picked"] != randomly[1]["picked"]
    gains = [a["area"] - b["area"] for a, b in zip(by_queue, randomly, strict=True)]
    assert report["gain"]["mean"] == pytest.approx(np.mean(gains)) and report["gain"]["mean"] > 0
    assert "4 corrected" in report["markdown"] and all(Path(name).is_file() for name in report["files"])
    assert looked.count("test 0") == 1 + 2 * 2 * protocol.ROUNDS  # the base model once, then each version
    looked.clear()
    assert run(protocol.queueing(tmp_path / "out", 8, 2, str(weights), "cpu")) == report and not looked


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one of 4"):
        run(protocol.queueing(tmp_path, 3, 1, "hcma-unet"))


def test_the_mixture_alternates_and_its_parts_are_apart() -> None:
    made = protocol.mixture(protocol.TEST, 3)
    assert [one.case.metadata["benign_masses"] > 0 for one in made] == [True, False, True]
    assert len({one.case.name for one in made}) == 3 and all(one.truth.any() for one in made)
