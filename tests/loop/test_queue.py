"""The queue: ranks and k-centre greedy on hand-made numbers, and what it looks at with networks that stand in for the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import ModelError
from napari_breastseg.loop.approval import approve
from napari_breastseg.loop.glances import Glance, _amount
from napari_breastseg.loop.queue import Place, Suggestion, arrange, in_words, queue, ranks
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.progress import run
from napari_breastseg.session import Session


def glance(entropy: float, *features: float, disagreement: float | None = None, unsure: str = "1.0 mL") -> Glance:
    return Glance(entropy, unsure, np.array(features), disagreement)


def order(glances: Sequence[Glance], *known: Sequence[float]) -> list[int]:
    return [place.index for place in arrange(glances, [np.array(one) for one in known])]


def test_ranks_are_shares_of_values_that_are_no_larger() -> None:
    np.testing.assert_allclose(ranks(np.array([0.3, 0.1, 0.2, 0.4])), [0.75, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(ranks(np.array([0.0, 5.0, 0.0])), [2 / 3, 1.0, 2 / 3])
    np.testing.assert_allclose(ranks(np.array([np.inf, np.inf])), [1.0, 1.0])
    np.testing.assert_allclose(ranks(np.array([0.0, 2.5]), among=np.array([1.0, 2.0, 3.0, 4.0])), [0.0, 0.5])


def test_equally_unsure_cases_are_spread_by_k_centre_greedy() -> None:
    line = [glance(0.3, x) for x in (0.0, 4.0, 10.0, 11.0)]
    assert order(line) == [0, 3, 1, 2]
    assert order(line, [11.0]) == [0, 1, 2, 3]
    assert order(line, [0.0], [4.0])[0] == 3


def test_the_score_is_the_mean_of_the_ranks() -> None:
    cases = [
        glance(0.1, 9.0, disagreement=0.9),  # ranks: entropy 1/3, distance 1, disagreement 1
        glance(0.3, 2.0, disagreement=0.2),  # 1, 2/3, 1/3
        glance(0.2, 1.0, disagreement=0.5),  # 2/3, 1/3, 2/3
    ]
    places = list(arrange(cases, [np.zeros(1)]))
    assert [place.index for place in places] == [0, 1, 2]
    assert places[0].score == pytest.approx(7 / 9) and places[0].ranks == pytest.approx((1 / 3, 1.0, 1.0))
    assert places[0].distance == 9.0
    # With the first one chosen the others are as near to the known case as before, and no case gains by that.
    assert places[1].score == pytest.approx(6 / 9) and places[2].score == pytest.approx(5 / 9)


def test_without_an_earlier_model_two_ranks_decide() -> None:
    cases = [glance(0.1, 3.0), glance(0.3, 2.0), glance(0.2, 1.0)]
    places = list(arrange(cases, [np.zeros(1)]))
    assert places[0].index == 1 and places[0].score == pytest.approx((1 + 2 / 3) / 2)


def test_scores_fall_along_the_queue() -> None:
    rng = np.random.default_rng(0)
    cases = [glance(float(rng.random()), *rng.normal(size=3), disagreement=float(rng.random())) for _ in range(30)]
    scores = [place.score for place in arrange(cases, [np.zeros(3)])]
    assert scores == sorted(scores, reverse=True) and len(scores) == 30


@pytest.mark.parametrize(
    ("seen", "place", "corrected", "above", "expected"),
    [
        (glance(0.4, unsure="3.2 mL"), (1.0, 0.2), 4, 0, ("the model is unsure of 3.2 mL",)),
        (glance(0.4, unsure="0.12 mL"), (0.9, 0.8), 4, 0, ("the model is unsure of 0.12 mL", "unlike the 4 cases corrected so far")),
        (glance(0.4), (0.1, 0.8), 1, 2, ("unlike the case corrected so far and those above it",)),
        (glance(0.4), (0.1, 0.8), 0, 2, ("unlike those above it",)),
        (glance(0.4, disagreement=0.41), (0.1, 0.2, 0.9), 4, 1, ("the model and the one that it learned from disagree by 41 %",)),
        (glance(0.4, disagreement=0.0), (0.1, 0.2, 0.9), 4, 1, ("less stands out in it than in those above it",)),
        (glance(0.0, unsure=""), (1.0, 0.2), 4, 0, ("no other case stands out more",)),
        (glance(3.9, unsure="0.20 mL"), (1.0, 0.2), 4, 0, ("the model finds next to nothing in it",)),
    ],
)
def test_reasons(seen: Glance, place: tuple[float, ...], corrected: int, above: int, expected: tuple[str, ...]) -> None:
    assert in_words(seen, Place(0, 0.5, 1.0, place), corrected, above) == expected


def test_volumes_in_words(tiny_case: Case) -> None:
    image = replace(tiny_case, images=tiny_case.images[:1, :1], times=(), modality="ultrasound")
    assert [_amount(ml, tiny_case) for ml in (0.0, 0.123, 3.21, 20.0)] == ["", "0.12 mL", "3.2 mL", "20.0 mL"]
    assert _amount(12 * image.geometry.voxel_ml, image) == "12 pixels"  # whose scale nobody knows


class StandIn(SegmentationNetwork):
    """Tumour is where a channel is above a threshold, with a slope that says how sure that is; two features."""

    decoding = ()

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def encode(self, x: Tensor) -> list[Tensor]:
        return [torch.cat([x[:, :1], x[:, :1] ** 2], 1)]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        odds = 3 * (encoded[0][:, :1] - self.threshold)
        return torch.cat([torch.zeros_like(odds), odds], 1)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        return encoded[0], self.decode(encoded, size)


Built = list[str]


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Built:
    """The models whose network was built; the cache is a folder of the test's own."""
    shas: Built = []

    def network(model: Model, device: object = "cpu") -> SegmentationNetwork:
        shas.append(model.sha)
        return StandIn(float(model.card.get("cut", 0.0)))

    monkeypatch.setattr(Model, "network", network)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return shas


@pytest.fixture
def cases(session: Session, tiny_case: Case) -> list[str]:
    rng = np.random.default_rng(5)
    made = [(tiny_case.images + rng.normal(0, 10, tiny_case.images.shape)).astype(np.float32) for _ in range(4)]
    return [session.add_case(replace(tiny_case, name=f"case {number}", images=images)) for number, images in enumerate(made)]


def ask(session: Session, weights: Path) -> list[Suggestion]:
    return run(queue(session, weights, device="cpu"))


def learned(session: Session, weights: Path, folder: Path, cut: float) -> str:
    """Make a model that learned from the current one, and current."""
    parent = load_model(weights)
    base = session.add_model(parent.path, parent.card)
    other = {key: value + 1 + cut for key, value in parent.weights.items()}
    child = load_model(save_model(other, {**parent.card, "parent": base, "cut": cut}, folder))
    session.use_model(session.add_model(child.path, child.card))
    return base


def test_the_queue_holds_what_nobody_corrected(session: Session, cases: list[str], weights: Path) -> None:
    found = ask(session, weights)
    assert {one.case_id for one in found} == set(cases)
    assert found[0].distance is None and all(one.distance for one in found[1:])
    assert all(one.reasons and one.entropy and one.disagreement is None for one in found)
    approve(session, cases[1])
    rest = ask(session, weights)
    assert {one.case_id for one in rest} == set(cases) - {cases[1]} and rest[0].distance is not None
    session.undo(cases[1])
    assert {one.case_id for one in ask(session, weights)} == set(cases)


def test_asking_again_needs_no_network(session: Session, cases: list[str], weights: Path, built: Built) -> None:
    first = ask(session, weights)
    assert built
    built.clear()
    assert ask(session, weights) == first and not built


def test_what_is_damaged_in_the_cache_is_computed_again(session: Session, cases: list[str], weights: Path, tmp_path: Path) -> None:
    first = ask(session, weights)
    kept = sorted((tmp_path / "cache").rglob("*.json"))
    assert len(kept) == 2 * len(cases) and not any("case" in path.name for path in kept)  # no names
    for path, content in zip(kept, (b"", b"{}", b"[1.0", b"[NaN, 1.0]", b'["a"]', b"[]", b"\xff", b"[1.0, 2.0, 3.0]"), strict=True):
        path.write_bytes(content) if "entropy" in path.name or b"3.0" not in content else path.unlink()
    assert ask(session, weights) == first


def test_a_cache_that_cannot_be_written_costs_only_time(session: Session, cases: list[str], weights: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the place of the folder")
    assert ask(session, weights) == ask(session, weights)


def test_the_latest_model_and_its_parent_disagree(session: Session, cases: list[str], weights: Path, tmp_path: Path, built: Built) -> None:
    learned(session, weights, tmp_path / "made", cut=0.0)
    assert [one.disagreement for one in ask(session, weights)] == [0.0] * 4  # the same answers by other weights
    base = learned(session, weights, tmp_path / "made", cut=0.1)
    built.clear()
    found = ask(session, weights)
    assert all(0 < (one.disagreement or 0) < 1 for one in found)
    assert set(built) == {base, session.current_model}


def test_stored_predictions_are_compared_if_both_are_there(session: Session, cases: list[str], weights: Path, tmp_path: Path) -> None:
    base = learned(session, weights, tmp_path / "made", cut=0.1)
    shape = session.case(cases[2]).shape
    for sha, width in ((base, 4), (session.current_model, 6)):
        mask = np.zeros(shape, np.uint8)
        mask[2:4, 2:4, :width] = 1
        session.add_prediction(cases[2], Prediction(str(sha), mask.astype(np.float32), mask, mask))
    found = {one.case_id: one.disagreement for one in ask(session, weights)}
    assert found[cases[2]] == pytest.approx(1 - 2 * 4 / (4 + 6))


def test_a_case_that_the_model_cannot_read_comes_last(session: Session, cases: list[str], weights: Path, tiny_case: Case) -> None:
    odd = session.add_case(replace(tiny_case, name="one phase", images=tiny_case.images[:1], times=()))
    cases.append(session.add_case(replace(tiny_case, name="another")))
    *others, last = ask(session, weights)
    assert {one.case_id for one in others} == set(cases)
    assert last.case_id == odd and last.score == 0 and last.entropy is None and "cannot be predicted: one phase" in last.reasons[0]
    approve(session, odd)
    assert {one.case_id for one in ask(session, weights)} == set(cases)  # neither waits nor is compared with


def test_nothing_waits(session: Session, weights: Path, tiny_case: Case, built: Built) -> None:
    assert ask(session, weights) == []
    approve(session, session.add_case(tiny_case))
    assert ask(session, weights) == [] and not built


def test_a_single_case(session: Session, case_id: str, weights: Path) -> None:
    (only,) = ask(session, weights)
    assert (only.case_id, only.score, only.distance) == (case_id, 1.0, None) and only.reasons


def test_a_model_that_does_not_exist(session: Session, case_id: str) -> None:
    with pytest.raises(ModelError, match="no model"):
        run(queue(session, "no such model"))


def test_a_session_that_is_only_read(session: Session, cases: list[str], weights: Path) -> None:
    with Session.open(session.path, read_only=True) as reader:
        assert len(ask(reader, weights)) == 4


def test_progress_counts_cases_and_cancelling_changes_nothing(session: Session, cases: list[str], weights: Path) -> None:
    approve(session, cases[0])
    seen: list[tuple[int, int]] = []
    job = queue(session, weights, device="cpu")
    for progress in job:
        seen.append((progress.step, progress.total))
        if progress.step == 2:
            break
    job.close()
    assert sorted(set(seen)) == [(0, 4), (1, 4), (2, 4)]
    assert session.models() == [] and session.current_model is None and not session.predictions(cases[1])
    assert len(ask(session, weights)) == 3
