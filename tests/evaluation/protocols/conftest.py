"""A loop without a network for the protocols with one robot: each adopted round finds more of the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import effort, interactive
from napari_breastseg.evaluation.protocols.material import Examination
from napari_breastseg.evaluation.protocols.trial import Cases
from napari_breastseg.loop import RoundOutcome
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.training.config import LearnConfig

TRUTH = np.zeros((16, 24, 28), np.uint8)
TRUTH[3:13, 4:20, 5:23] = 1


class RobotLoop:
    """Predicts the columns of the truth before `SEEN[rounds adopted]`; refuses every third round."""

    SEEN = (12, 16, 23)
    configs: list[LearnConfig | None]

    def __init__(self, session: Session, model: str | Path, device: str, where: Any) -> None:
        self.session, self.rounds, self.adopted = session, 0, 0

    def predict(self, case_id: str) -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        mask = TRUTH.copy()
        mask[:, :, self.SEEN[min(self.adopted, 2)] :] = 0
        prediction = Prediction("0" * 64, mask.astype(np.float32), mask, mask)
        self.session.add_prediction(case_id, prediction)
        return prediction

    def refine(self, case_id: str) -> Job[Prediction]:
        """Add the next two columns."""
        yield Progress(0, 1, "refining")
        before = self.session.prediction(case_id)
        assert before is not None
        mask = before.refined.copy()
        seen = int(mask.any((0, 1)).nonzero()[0].max()) + 1
        mask[:, :, seen : seen + 2] = TRUTH[:, :, seen : seen + 2]
        refined = replace(before, refined=mask)
        self.session.add_prediction(case_id, refined)
        return refined

    def unrefine(self, case_id: str) -> Prediction:
        """Show the prediction before the last one again."""
        before = self.session.prediction(case_id, self.session.predictions(case_id)[-2].id)
        assert before is not None
        self.session.add_prediction(case_id, before)
        return before

    def learn(self, config: LearnConfig | None = None) -> Job[RoundOutcome]:
        yield Progress(0, 1, "learning")
        type(self).configs.append(config)
        self.rounds += 1
        if self.rounds % 3 == 0:
            raise InputError("Paint more.")
        self.adopted += 1
        return RoundOutcome(self.rounds, True, ("better",), {}, "0", "1", 2.0)


@pytest.fixture
def robot_loop(monkeypatch: pytest.MonkeyPatch) -> type[RobotLoop]:
    """In the place of the loop; `configs` collects how it was told to learn."""
    monkeypatch.setattr(RobotLoop, "configs", [], raising=False)
    for module in (effort, interactive):
        monkeypatch.setattr(module, "AnnotationLoop", RobotLoop)
    return RobotLoop


@pytest.fixture
def toys(tiny_case: Case) -> Callable[[int], Cases]:
    """So many cases of each seed, all with the same truth."""

    def named(seed: int, number: int) -> Examination:
        images = np.full((1, *TRUTH.shape), 10 * seed + number, np.float32) + np.arange(TRUTH.shape[-1], dtype=np.float32)
        return Examination(Case(f"{seed}-{number}", images, tiny_case.geometry), TRUTH)

    return lambda count: Cases({"toys": count}, lambda seed: [named(seed, number) for number in range(count)])


@pytest.fixture
def truth() -> npt.NDArray[np.uint8]:
    """Of all toys."""
    return TRUTH
