"""What training from scratch refuses, and what it takes over from other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_breastseg.errors import InputError
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import run
from napari_breastseg.training.from_scratch import TrainConfig, _fitting, train_from_scratch
from napari_breastseg.training.replay import EXAM_SEEDS

PAPER = get_preset("hcma-unet/paper")


def test_weights_of_another_preset_are_taken_over_where_they_fit() -> None:
    start, network = load_model("hcma-unet/practical"), PAPER.build()
    taken = _fitting(start, network)
    network.load_state_dict(taken)
    assert torch.equal(taken["encoder.0.reduce.main.0.weight"], start.weights["encoder.0.reduce.main.0.weight"])
    fresh = {key for key, value in taken.items() if not (key in start.weights and torch.equal(value, start.weights[key]))}
    assert {key.split(".")[0] for key in fresh} == {"stem"}


@pytest.mark.parametrize("first", [EXAM_SEEDS.start - 5, EXAM_SEEDS.stop - 1])
def test_the_phantoms_of_the_gate_are_not_trained_on(first: int, tmp_path: Path) -> None:
    config = TrainConfig(steps=1, phantoms=6, seed=first - 1000)
    with pytest.raises(InputError, match="gate judges"):
        run(train_from_scratch(PAPER, config, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_refusals_leave_no_folder_behind(tmp_path: Path) -> None:
    start = load_model("hcma-unet/practical")
    stranger = replace(start, preset=replace(start.preset, name="other/one"))
    for config, parent, words in ((TrainConfig(phantoms=0), None, "nothing to train"), (TrainConfig(), stranger, "model of other")):
        with pytest.raises(InputError, match=words):
            run(train_from_scratch(PAPER, config, tmp_path / "run", start=parent))
    assert not (tmp_path / "run").exists()
