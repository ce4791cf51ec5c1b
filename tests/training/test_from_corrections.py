"""A whole learning round on a small case: it meets the corrections, respects the gate, and leaves a usable candidate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import InputError
from napari_breastseg.methods.model import load_model, save_model, starter_models
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import run
from napari_breastseg.training import from_corrections, replay
from napari_breastseg.training.corrections import Correction
from napari_breastseg.training.from_corrections import LearnConfig, LearnResult, learn
from napari_breastseg.training.gate import Score


@pytest.fixture
def correction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Correction:
    monkeypatch.setattr(replay, "SHAPE", (40, 64, 64))
    monkeypatch.setattr(replay.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.setattr(from_corrections, "PRACTICE_SEEDS", range(1))
    monkeypatch.setattr(from_corrections, "EXAM_SEEDS", range(2))
    phantom = make_phantom(21, (48, 64, 64), phases=2, lesions=1, diameter=25.0)
    learn_labels = np.full(phantom.tumour.shape, UNDECIDED, np.uint8)
    z = int(phantom.tumour.sum((1, 2)).argmax())
    learn_labels[z] = phantom.tumour[z]
    held_out = np.full_like(learn_labels, UNDECIDED)
    held_out[z + 3] = phantom.tumour[z + 3]
    for name, array in (("images", phantom.case.images), ("learn", learn_labels), ("held", held_out)):
        np.save(tmp_path / f"{name}.npy", array)
    return Correction("case", tmp_path / "images.npy", phantom.case.geometry, tmp_path / "learn.npy", tmp_path / "held.npy")


def one_round(correction: Correction, folder: Path, steps: int = 2) -> LearnResult:
    weights = starter_models()["hcma-unet/practical"]
    return run(learn(weights, weights, [correction], LearnConfig(steps=steps), folder, device="cpu"))


@pytest.mark.slow
def test_a_round_leaves_a_candidate_that_names_its_parent_and_reasons(correction: Correction, tmp_path: Path) -> None:
    result = one_round(correction, tmp_path / "round")
    parent, candidate = load_model("hcma-unet/practical"), load_model(result.weights)
    assert candidate.card["parent"] == parent.sha
    assert result.decision.reasons
    changed = {key for key, value in candidate.weights.items() if not torch.equal(value, parent.weights[key])}
    assert changed
    assert all(key.startswith(("decoder", "head")) for key in changed)


@pytest.mark.slow
def test_learning_meets_the_corrections_better(correction: Correction, tmp_path: Path) -> None:
    figures = one_round(correction, tmp_path / "round", steps=30).decision.figures
    assert figures["candidate"]["corrected"] > figures["parent"]["corrected"]


def test_a_base_model_of_another_lineage_is_refused(correction: Correction, tmp_path: Path) -> None:
    parent = load_model("hcma-unet/practical")
    weights = {key: value + 0.1 for key, value in parent.weights.items()}
    stranger = save_model(weights, parent.card, tmp_path / "stranger")
    with pytest.raises(InputError, match="has learned from"):
        run(learn(parent.path, stranger, [correction], LearnConfig(steps=1), tmp_path / "round", device="cpu"))


@pytest.mark.slow
def test_a_forgetful_candidate_is_not_adopted(correction: Correction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every candidate forget: the first score is the parent's, those after it are worse on the replay set."""
    scores = iter([Score(0.8, 0.7, [0.9, 0.9])])

    def score(self: object, weights: object) -> Score:
        return next(scores, Score(0.9, 0.9, [0.9, 0.7]))

    monkeypatch.setattr(from_corrections._Examiner, "score", score)
    result = one_round(correction, tmp_path / "round")
    assert not result.decision.adopted
    assert any("replay" in reason for reason in result.decision.reasons)


def test_nothing_to_learn_from_is_said(correction: Correction, tmp_path: Path) -> None:
    np.save(correction.learn, np.full((48, 64, 64), UNDECIDED, np.uint8))
    with pytest.raises(InputError, match="no corrections"):
        one_round(correction, tmp_path / "round")
