from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation import simulate as simulation
from napari_breastseg.evaluation.simulate import simulate
from napari_breastseg.loop import RoundOutcome
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session
from napari_breastseg.training.config import LearnConfig

TRUTH = np.zeros((12, 16, 20), np.uint8)
TRUTH[3:9, 4:12, 5:14] = 1


class FakeLoop:
    """Predicts a growing part of the truth; `learning` says what becomes of each round."""

    learning: Callable[[], RoundOutcome]

    def __init__(self, session: Session, model: str, device: str) -> None:
        self.session, self.rounds = session, 0

    def predict(self, case_id: str) -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        mask = TRUTH.copy()
        mask[:, :, 9 + self.rounds :] = 0
        prediction = Prediction("0" * 64, mask.astype(np.float32), mask, mask)
        self.session.add_prediction(case_id, prediction)
        return prediction

    def learn(self, config: LearnConfig | None = None) -> Job[RoundOutcome]:
        yield Progress(0, 1, "learning")
        outcome = type(self).learning()
        self.rounds += 1
        return outcome


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeLoop]:
    monkeypatch.setattr(simulation, "AnnotationLoop", FakeLoop)
    monkeypatch.setattr(FakeLoop, "learning", staticmethod(lambda: RoundOutcome(1, True, ("better",), {}, "0", "1", 2.0)), raising=False)
    return FakeLoop


def test_every_round_is_reported(tiny_case: Case, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = run(simulate(tiny_case, TRUTH, rounds=2, session_path=tmp_path / "session"), seen.append)
    first, second, third = result["rounds"]
    assert result["case"] == "tiny" and (first["strokes"], first["edited_voxels"], first["reasons"]) == (0, 0, [])
    assert first["dice"] < second["dice"] < third["dice"]
    assert second["dice_shown"] > second["dice"] and second["adopted"] and second["reasons"] == ["better"]
    assert [p.payload["round"] for p in seen if isinstance(p.payload, dict)] == [0, 1, 2]
    with Session.open(tmp_path / "session") as session:
        annotation = session.annotation(session.cases[0])
        assert (annotation[annotation != 255] == TRUTH[annotation != 255]).all()
        assert sum(row["strokes"] for row in result["rounds"]) == session.seq(session.cases[0])


def test_one_seed_one_result(tiny_case: Case) -> None:
    def figures() -> list[dict[str, object]]:
        rows = run(simulate(tiny_case, TRUTH, rounds=2, seed=5))["rounds"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    assert figures() == figures()


def test_too_little_to_learn_from_is_a_reason_not_an_end(tiny_case: Case, fake: type[FakeLoop], monkeypatch: pytest.MonkeyPatch) -> None:
    def too_little() -> RoundOutcome:
        raise InputError("Paint more.")

    monkeypatch.setattr(fake, "learning", staticmethod(too_little))
    rows = run(simulate(tiny_case, TRUTH, rounds=1))["rounds"]
    assert not rows[1]["adopted"] and rows[1]["reasons"] == ["Paint more."] and rows[1]["strokes"] > 0


@pytest.mark.parametrize(
    ("truth", "rounds", "text"),
    [(np.zeros_like(TRUTH), 1, "no tumour voxel"), (TRUTH[1:], 1, "case's grid"), (TRUTH, -1, "0 or more")],
)
def test_refusals(tiny_case: Case, tmp_path: Path, truth: np.ndarray, rounds: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        run(simulate(tiny_case, truth, rounds=rounds, session_path=tmp_path / "session"))
    assert not (tmp_path / "session").exists()


def test_a_cancelled_simulation_leaves_a_whole_session(tiny_case: Case, tmp_path: Path) -> None:
    job = simulate(tiny_case, TRUTH, rounds=2, session_path=tmp_path / "session")
    while next(job).message != "learning":
        pass
    job.close()
    with Session.open(tmp_path / "session") as session:
        assert session.verify() == [] and session.seq(session.cases[0]) > 0
