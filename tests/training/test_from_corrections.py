"""A whole learning round on a small case: it meets the corrections, respects the gate, goes on after a kill, leaves a usable candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import UNDECIDED, box_around, slices
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.methods.model import load_model, save_model, starter_models
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import Progress, run
from napari_breastseg.training import encoded, from_corrections, replay
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import CorrectedWindow, Correction
from napari_breastseg.training.from_corrections import LearnResult, latest, learn
from napari_breastseg.training.gate import Score

WEIGHTS = starter_models()["hcma-unet/practical"]
Round = Callable[..., LearnResult]


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exemplars are made, and encoded, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def correction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exemplars: Path) -> Correction:
    monkeypatch.setattr(replay, "SHAPE", (40, 64, 64))
    monkeypatch.setattr(replay.platformdirs, "user_cache_dir", lambda name: str(exemplars))
    monkeypatch.setattr(from_corrections, "PRACTICE_SEEDS", range(1))
    monkeypatch.setattr(from_corrections, "EXAM_SEEDS", range(2))
    phantom = make_phantom(21, (48, 64, 64), phases=2, lesions=1, diameter=25.0)
    learn_labels = np.full(phantom.tumour.shape, UNDECIDED, np.uint8)
    held_out = np.full_like(learn_labels, UNDECIDED)
    box = box_around(phantom.tumour > 0)
    assert box is not None
    z, *near = slices(box)
    middle = (z.start + z.stop) // 2
    for labels, at in ((learn_labels, middle), (held_out, middle + 3)):
        labels[at, *near] = phantom.tumour[at, *near]
    for name, array in (("images", phantom.case.images), ("learn", learn_labels), ("held", held_out)):
        np.save(tmp_path / f"{name}.npy", array)
    return Correction("case", tmp_path / "images.npy", phantom.case.geometry, tmp_path / "learn.npy", tmp_path / "held.npy")


@pytest.fixture
def one_round(correction: Correction, exemplars: Path, tmp_path: Path) -> Round:
    """Go a round of two steps, with other settings where they are given."""

    def gone(
        folder: str = "round",
        listener: Callable[[Progress], None] | None = None,
        done: bool = False,
        further: Sequence[Correction] = (),
        **settings: object,
    ) -> LearnResult:
        config = replace(LearnConfig(steps=2), **settings)  # type: ignore[arg-type]
        (tmp_path / folder).mkdir(exist_ok=True)
        cases = [replace(correction, done=done), *further]
        job = learn(WEIGHTS, WEIGHTS, cases, config, tmp_path / folder, device="cpu", cache=exemplars)
        return run(job, listener)

    return gone


def changed(result: LearnResult) -> set[str]:
    parent, candidate = load_model(WEIGHTS), load_model(result.weights)
    return {key for key, value in candidate.weights.items() if not torch.equal(value, parent.weights[key])}


@pytest.mark.slow
def test_a_round_leaves_a_candidate_with_its_whole_record(one_round: Round, correction: Correction, tmp_path: Path) -> None:
    seen: list[Progress] = []
    nothing = tmp_path / "nothing.npy"
    np.save(nothing, np.full((48, 64, 64), UNDECIDED, np.uint8))
    test = replace(correction, name="test", learn=nothing, done=True, kept_back=True)
    scan = replace(correction, name="scan", modality="ultrasound")
    result = one_round(listener=seen.append, done=True, further=[test, scan])
    card = load_model(result.weights).card
    assert card["parent"] == card["base"] == card["started_from"] == load_model(WEIGHTS).sha
    assert card["learning"]["steps"] == 2 and len(card["loss"]) == 2 and card["trained"] == "decoder" and card["memory_steps"] == []
    assert {"notes", "training"} <= load_model(WEIGHTS).card.keys() and not {"notes", "training"} & card.keys(), "they are the starter's"
    judged = result.decision.figures["parent"]
    assert set(judged["cases"]) == {"case", "test"} and judged["unseen"] == ["test"] and result.decision.reasons
    assert result.left_out == ("scan",) and result.decision.reasons[-1].startswith("scan was left out: ")
    names = changed(result)
    assert names and all(key.startswith(("decoder", "head")) for key in names)
    stages = [step.payload["stage"] for step in seen if step.payload]
    assert stages[:2] == ["train", "train"] and set(stages[2:]) == {"judge"}


@pytest.mark.slow
def test_learning_meets_the_corrections_better(one_round: Round) -> None:
    figures = one_round(steps=30).decision.figures
    assert figures["candidate"]["corrected"] > figures["parent"]["corrected"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_bit_for_bit(one_round: Round) -> None:
    first, again, other = (one_round(name, seed=seed, gate=False) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.weights.name == again.weights.name != other.weights.name
    assert first.weights.read_bytes() == again.weights.read_bytes()


@pytest.mark.slow
def test_a_round_that_was_stopped_goes_on_to_the_same_weights(one_round: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_corrections, "SAVE_EVERY", 2)
    whole = one_round("whole", steps=5, gate=False)

    class KilledError(Exception):
        pass

    def kill(step: Progress) -> None:
        if step.payload and step.payload["stage"] == "train" and step.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        one_round("killed", kill, steps=5, gate=False)
    seen: list[Progress] = []
    resumed = one_round("killed", seen.append, steps=5, gate=False)
    assert [step.step for step in seen if step.payload and step.payload["stage"] == "train"] == [3, 4, 5]
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


@pytest.mark.slow
def test_every_part_can_be_switched_off_and_frloss_on(one_round: Round) -> None:
    off = ("trust", "replay", "distillation", "l2sp", "ema")
    results = [one_round(name, gate=False, **{name: 0.0}) for name in off]
    results += [one_round("default", gate=False), one_round("frloss", gate=False, frloss=1.0)]
    results += [one_round("done", gate=False, done=True), one_round("bare", gate=False, earlier=False, **dict.fromkeys(off, 0.0))]
    assert len({result.weights.name for result in results}) == len(results), "each part makes a difference"


@pytest.mark.slow
def test_what_learns_can_be_less_or_more(one_round: Round) -> None:
    few = changed(one_round("few", trained="norm-and-head", gate=False))
    assert {"head.weight", "head.bias"} < few < changed(one_round("decoder", gate=False))
    assert any(key.startswith("encoder") for key in changed(one_round("all", trained="all", steps=1, gate=False)))


@pytest.mark.slow
def test_where_memory_does_not_suffice_less_learns_and_the_card_says_so(one_round: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded.Plain, "outputs", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("too much")))
    seen: list[Progress] = []
    card = load_model(one_round("less", seen.append, trained="all", gate=False).weights).card
    assert card["trained"] == "decoder" and card["memory_steps"] == ["Memory did not suffice: only the decoder learned."]
    assert card["memory_steps"][0] in {step.message for step in seen}
    monkeypatch.setattr(encoded.Encoded, "outputs", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(ComputeError, match="too little memory to learn"):
        one_round("none", trained="all")


@pytest.mark.slow
def test_a_round_can_start_from_the_base_model_while_another_is_in_use(
    correction: Correction, exemplars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_corrections, "EXAM_SEEDS", range(0))
    monkeypatch.setattr(from_corrections, "PRACTICE_SEEDS", range(0))
    base = load_model(WEIGHTS)
    other = save_model({key: value * 1.001 for key, value in base.weights.items()}, dict(base.card), tmp_path / "other")
    job = learn(other, WEIGHTS, [correction], LearnConfig(steps=1, gate=False), tmp_path, device="cpu", start=WEIGHTS, cache=exemplars)
    result = run(job)
    card = load_model(result.weights).card
    assert card["started_from"] == card["base"] == base.sha != card["parent"]
    encoder = [key for key in base.weights if not key.startswith(("decoder", "head"))]
    assert all(torch.equal(load_model(result.weights).weights[key], base.weights[key]) for key in encoder)


@pytest.mark.slow
def test_a_forgetful_candidate_is_not_adopted(one_round: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every candidate forget: the first score is the parent's, those after it are worse on the replay set."""
    scores = iter([Score(0.8, 0.7, [0.9, 0.9])])

    def score(self: object, weights: object) -> Score:
        return next(scores, Score(0.9, 0.9, [0.9, 0.7]))

    monkeypatch.setattr(from_corrections.Examiner, "score", score)
    result = one_round()
    assert not result.decision.adopted
    assert any("replay" in reason for reason in result.decision.reasons)


@pytest.mark.slow
def test_the_strongest_share_that_passes_is_proposed_and_what_spoke_against_more_is_told(
    one_round: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, torch.Tensor]] = []
    scores = iter([Score(0.8, 0.7, [0.9, 0.9]), Score(0.9, 0.9, [0.9, 0.7]), Score(0.9, 0.9, [0.9, 0.88])])

    def score(self: object, weights: dict[str, torch.Tensor]) -> Score:
        asked.append({key: value.clone() for key, value in weights.items()})
        return next(scores)

    monkeypatch.setattr(from_corrections.Examiner, "score", score)
    result = one_round()
    assert result.decision.adopted and result.decision.figures["blend"] == 0.75
    against = result.decision.figures["against_more"]
    assert list(against) == ["100%"] and "replay case 2 fell from 0.90 to 0.70" in against["100%"]
    parent, learned, blend = asked
    for key, old in parent.items():
        torch.testing.assert_close(blend[key], old + 0.75 * (learned[key] - old))
        assert torch.equal(load_model(result.weights).weights[key], blend[key])


def test_of_many_windows_the_latest_train_and_tests_do_not_crowd_them_out() -> None:
    nothing = np.zeros((1, 1, 1), np.uint8)

    def window(name: str, weight: float, rounds_ago: int = 0) -> CorrectedWindow:
        return CorrectedWindow(name, nothing[None].astype(np.float32), nothing, nothing, weight, rounds_ago, False)

    new = [window(f"new {n}", 1.0) for n in range(5)]
    assert [one.case for one in latest(new, 4)] == ["new 1", "new 2", "new 3", "new 4"]
    tests, old = [window(f"test {n}", 0.0) for n in range(9)], [window(f"old {n}", 1.0, 1 + n % 2) for n in range(4)]
    mixed = [*old, *tests, *new]
    assert [one.case for one in latest(mixed, 100)] == [
        *(f"test {n}" for n in range(9)),
        *(f"new {n}" for n in range(5)),
        "old 0",
        "old 2",
        "old 1",
        "old 3",
    ]
    few = [one.case for one in latest(mixed, 8)]
    assert few == [*(f"test {n}" for n in range(5, 9)), *(f"new {n}" for n in range(1, 5))]
    assert [one.case for one in latest([*old, *new], 6)] == [*(f"new {n}" for n in range(5)), "old 2"]


def test_nothing_to_learn_from_is_said(correction: Correction, one_round: Round) -> None:
    np.save(correction.learn, np.full((48, 64, 64), UNDECIDED, np.uint8))
    with pytest.raises(InputError, match="no corrections"):
        one_round()


def test_corrections_that_are_not_drawn_are_nothing_to_learn_from(correction: Correction, tmp_path: Path) -> None:
    """Without earlier cases, a case from a round before has nothing that is drawn."""
    job = learn(WEIGHTS, WEIGHTS, [replace(correction, rounds_ago=1)], LearnConfig(earlier=False), tmp_path, device="cpu")
    with pytest.raises(InputError, match="since the last round"):
        run(job)
