from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import starting_errors as module
from napari_breastseg.evaluation.protocols.starting_errors import sees_too_little, sees_too_much, shifted, starting_errors
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.progress import Job, Progress, run

TRUTH = np.zeros((12, 16, 20), np.uint8)
TRUTH[3:9, 4:12, 5:14] = 1


def odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_the_first_shift_gives_three_volumes_or_a_fifth_of_the_tumour(threshold: float) -> None:
    probability = np.random.default_rng(0).uniform(0.01, 0.99, TRUTH.shape).astype(np.float32)
    cut = np.log(threshold / (1 - threshold))
    found = odds(probability) + sees_too_much(probability, TRUTH, threshold) >= cut - 1e-6
    assert found.sum() == pytest.approx(3 * TRUTH.sum(), abs=1)
    found = odds(probability) + sees_too_little(probability, TRUTH, threshold) > cut
    assert found[TRUTH == 1].mean() == pytest.approx(0.2, abs=0.01)


def test_shifts_are_tried_until_the_prediction_errs_as_it_is_meant_to(
    tiny_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction that follows the shift by half, as blended windows do, is shifted further than one that follows it fully."""
    first = odds(np.random.default_rng(0).uniform(0.01, 0.99, TRUTH.shape))
    shown = []

    def reluctant(case: Case, model: Model, *, device: str = "auto") -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        probability = (1 / (1 + np.exp(-first - 0.5 * model.card.get("log_odds_shift", 0.0)))).astype(np.float32)
        shown.append(probability >= 0.5)
        return Prediction(model.sha, probability, TRUTH, TRUTH)

    monkeypatch.setattr(module, "predict", reluctant)
    monkeypatch.setattr(module, "simulate", lambda *_: run_nothing())
    run(starting_errors(tiny_case, TRUTH, tmp_path, rounds=0))
    much = [found for found in shown if found.sum() > TRUTH.sum() * 2.7]
    assert much and much[-1].sum() <= TRUTH.sum() * 3.3
    assert shown[-1][TRUTH == 1].mean() == pytest.approx(0.2, abs=0.1)


def run_nothing() -> Job[dict[str, object]]:
    yield Progress(0, 1, "going round")
    return {"rounds": []}


def test_a_shifted_model_is_the_same_network_with_other_odds(tmp_path: Path) -> None:
    start = load_model("hcma-unet")
    other = load_model(shifted(start, -1.5, tmp_path))
    assert other.card["parent"] == start.sha != other.sha and "metrics" not in other.card
    torch.manual_seed(0)
    image = torch.randn(1, start.preset.channels, 16, 16, 16)
    with torch.no_grad():
        before, after = start.network()(image), other.network()(image)
    difference = (after[:, 1] - after[:, 0]) - (before[:, 1] - before[:, 0])
    torch.testing.assert_close(difference, torch.full_like(difference, -1.5), atol=1e-4, rtol=0)


def fake_predict(case: Case, model: Model, *, device: str = "auto") -> Job[Prediction]:
    yield Progress(0, 1, "predicting")
    probability = np.random.default_rng(0).uniform(0.01, 0.99, TRUTH.shape).astype(np.float32)
    return Prediction(model.sha, probability, TRUTH, TRUTH)


def test_each_start_goes_its_rounds(tiny_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake_simulate(case: Case, reference: np.ndarray, model: Path, rounds: int, *_: object) -> Job[dict[str, object]]:
        yield Progress(0, 1, "going round")
        asked.append(load_model(model).sha)
        row = {"dice": 0.5, "dice_shown": 0.6, "strokes": 3, "person_seconds": 4.0, "seconds": 5.0, "adopted": False, "reasons": ["worse"]}
        return {"rounds": [{"round": number, **row} for number in range(rounds + 1)]}

    monkeypatch.setattr(module, "predict", fake_predict)
    monkeypatch.setattr(module, "simulate", fake_simulate)
    report = run(starting_errors(tiny_case, TRUTH, tmp_path, rounds=2))
    assert [start["start"] for start in report["starts"]] == ["as it is", "sees too much", "sees too little"]
    assert [start["model"] for start in report["starts"]] == asked and len(set(asked)) == 3 and asked[0] == report["parent"]
    text = (tmp_path / "starting-errors.md").read_text()
    assert text.count("| worse |") == 9 and "sees too little -" in text


@pytest.mark.parametrize("reference", [TRUTH[1:], np.zeros_like(TRUTH)])
def test_references_that_cannot_be_used(tiny_case: Case, tmp_path: Path, reference: np.ndarray) -> None:
    with pytest.raises(InputError, match="another grid or empty"):
        run(starting_errors(tiny_case, reference, tmp_path))


@pytest.mark.realdata
@pytest.mark.slow
def test_the_starts_on_a_real_case_are_as_bad_as_they_say(data: Path, tmp_path: Path) -> None:
    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    truth = read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case)
    starts = run(starting_errors(case, truth, tmp_path, rounds=0, device="cpu"))["starts"]
    usual, much, little = (start["rounds"][0]["dice"] for start in starts)
    assert usual > 0.7 and much < 0.65 and little < 0.5
