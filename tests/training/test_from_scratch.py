"""What training from scratch refuses, and what it takes over from other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io.cohort import LabelledCase
from napari_breastseg.losses.frloss import FRLoss
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import run
from napari_breastseg.training import from_scratch
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import _fitting, train_from_scratch, train_weights
from napari_breastseg.training.prepared import mapped
from napari_breastseg.training.replay import EXAM_SEEDS
from napari_breastseg.training.sampling import Volume, make_volume

PAPER = get_preset("hcma-unet/paper")
KINDS = ("tumour", "bright", "body")


def test_weights_of_another_preset_are_taken_over_where_they_fit() -> None:
    start, network = load_model("hcma-unet/practical"), PAPER.build()
    taken = _fitting(start, network)
    network.load_state_dict(taken)
    assert torch.equal(taken["encoder.0.reduce.main.0.weight"], start.weights["encoder.0.reduce.main.0.weight"])
    fresh = {key for key, value in taken.items() if not (key in start.weights and torch.equal(value, start.weights[key]))}
    assert {key.split(".")[0] for key in fresh} == {"stem"}


@pytest.mark.parametrize("first", [EXAM_SEEDS[0] - 5, EXAM_SEEDS[-1]])
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


TINY = {"batch": 1, "patch": 16, "phantoms": 1, "phantom_shape": (24, 32, 32)}


@pytest.mark.parametrize("name", ["baseline", "vssb", "vssb-asc", "vssb-asa", "paper", "mamba3d"])
def test_every_variant_of_table_ii_trains_a_step_with_frloss(name: str, tmp_path: Path) -> None:
    preset = get_preset(f"hcma-unet/{name}")
    config = TrainConfig(steps=1, frloss=FRLoss(boundary_reach=2, negative_reach=2), tumour_share=1.0, **TINY)
    model = load_model(run(train_from_scratch(preset, config, tmp_path)))
    assert model.preset == preset
    assert model.card["training"]["frloss"]["boundary_reach"] == 2
    assert all(torch.isfinite(value).all() for value in model.weights.values())


def test_the_arms_of_a_trial_see_the_same_batches() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((20, 24, 22)) > 0.9).astype(np.uint8)
    volume = Volume(rng.normal(size=(1, 20, 24, 22)).astype(np.float16), labels, {k: np.argwhere(labels == 1) for k in KINDS})
    for step in range(3):
        without, with_it = (draw_batch([volume], TrainConfig(patch=16, frloss=loss), step) for loss in (None, FRLoss()))
        assert all(torch.equal(one, other) for one, other in zip(without, with_it, strict=True))


def test_training_without_phantoms_is_not_refused_for_its_phantoms(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        run(train_from_scratch(PAPER, TrainConfig(phantoms=0, seed=EXAM_SEEDS[0] - 1000), tmp_path / "run"))


def test_a_run_goes_on_with_the_same_data_only(tmp_path: Path, tiny_case: Case) -> None:
    truth = np.zeros(tiny_case.shape, np.uint8)
    truth[3:7, 4:9, 5:12] = 1

    class InMemory(LabelledCase):
        def read(self) -> tuple[Case, np.ndarray]:
            return tiny_case, truth

        def fingerprint(self) -> str:
            return digest

    config = TrainConfig(steps=1, batch=1, patch=16, phantoms=0)
    for digest in ("one", "one", "another"):
        job = train_weights(PAPER, config, tmp_path / "run", [InMemory("a", tmp_path, tmp_path)])
        if digest == "another":
            with pytest.raises(InputError, match=r"other settings or data \(cases: a\)"):
                run(job)
        else:
            run(job)


def test_cases_are_prepared_once_and_mapped_from_disk(tmp_path: Path, tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros(tiny_case.shape, np.uint8)
    truth[3:7, 4:9, 5:12] = 1
    reads, seen = [], []

    class InMemory(LabelledCase):
        def read(self) -> tuple[Case, np.ndarray]:
            reads.append(self.name)
            return tiny_case, truth

        def fingerprint(self) -> str:
            return self.name

    def watched(volumes: Any, config: TrainConfig, step: int, flat: bool, shares: Any) -> Any:
        seen.append(volumes)
        return draw_batch(volumes, config, step, flat, shares=shares)

    monkeypatch.setattr(from_scratch, "draw_batch", watched)
    cases = [InMemory(name, tmp_path, tmp_path) for name in ("a", "b")]
    config = TrainConfig(steps=1, batch=1, patch=16, phantoms=0)
    for number in range(2):
        run(train_weights(PAPER, config, tmp_path / f"run{number}", cases, prepared=tmp_path / "prepared"))
    assert reads == ["a", "b"]
    expected = make_volume(tiny_case, truth, PAPER)
    assert all(isinstance(place, Path) for volumes in seen for place in volumes)  # no file is open between two batches
    for volumes in seen:
        for volume in map(mapped, volumes):
            assert isinstance(volume.channels, np.memmap) and isinstance(volume.labels, np.memmap)
            np.testing.assert_array_equal(volume.channels, expected.channels)
            np.testing.assert_array_equal(volume.labels, expected.labels)
            for kind in KINDS:
                np.testing.assert_array_equal(volume.centres[kind], expected.centres[kind])
