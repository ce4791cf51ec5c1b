"""HCNet's three stages on tiny phantoms: who sees what, what is kept, and that a killed training goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering import FitSettings, load_codebook
from napari_breastseg.methods import get_preset
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import run
from napari_breastseg.training import hcnet
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import train_from_scratch, train_weights
from napari_breastseg.training.parts import trained_parameters


def tiny(seed: int, shape: tuple[int, int, int]) -> tuple[Case, Any]:
    phantom = make_phantom(seed, shape, phases=4, lesions=1, diameter=25.0)
    return phantom.case, phantom.tumour


network = partial(HCNet, labels=4, widths=(4, 8), norm="instance", hipm_widths=(8, 8, 8, 8), hipm_hidden=8)
PRESET = replace(get_preset("hcnet/compact"), network=network, exemplar=tiny, spacing=(6.0,) * 3)
CONFIG = TrainConfig(steps=2, batch=1, patch=32, phantoms=4, phantom_shape=(32, 48, 48))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hcnet, "FitSettings", partial(FitSettings, steps=20, voxels=256))


def test_no_case_is_shown_to_the_segmentation_with_a_map_of_one_that_was_trained_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, frozenset[str]]] = []

    def watched(places: Any, config: TrainConfig, step: int, labels: str = "labels") -> Any:
        drawn.append((labels, frozenset(place.name for place in places)))
        return draw_batch(places, config, step, labels=labels)

    monkeypatch.setattr(hcnet, "draw_batch", watched)
    loss = hcnet._segmentation_loss
    folds: list[Any] = []
    monkeypatch.setattr(hcnet, "_segmentation_loss", lambda *given: folds.append(given[1]) or loss(*given))
    run(train_weights(PRESET, CONFIG, tmp_path))
    predictors = [names for labels, names in drawn if labels == "clusters"][:: CONFIG.steps]
    everything, *others = predictors
    assert len(everything) == 4 and len(others) == len(folds[0]) == 2
    for trained_on, fold in zip(others, folds[0], strict=True):
        assert trained_on.isdisjoint({place.name for place in fold})
        assert trained_on | {place.name for place in fold} == everything
    segmented = {names for labels, names in drawn if labels == "labels"}
    assert segmented <= {frozenset(place.name for place in fold) for fold in folds[0]}


def test_the_predictors_of_the_folds_know_nothing_of_the_one_that_saw_all_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[dict[str, torch.Tensor]] = []
    fit = hcnet.fit

    def watched(network: torch.nn.Module, *given: Any) -> Any:
        starts.append({key: value.clone() for key, value in network.state_dict().items()})
        return (yield from fit(network, *given))

    monkeypatch.setattr(hcnet, "fit", watched)
    weights = run(train_weights(PRESET, CONFIG, tmp_path))
    every, *folds, _ = starts
    assert len(folds) == 2
    for fold in folds:
        assert all(torch.equal(every[key], fold[key]) for key in every)
    assert any(not torch.equal(every[key], weights[f"hipm.{key}"]) for key in every)  # or the above would say nothing


def test_it_leaves_a_model_and_the_codebook_and_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    weights = run(train_weights(PRESET, CONFIG, tmp_path / "whole"))
    PRESET.build().load_state_dict(weights)
    codebook = load_codebook(tmp_path / "whole" / "codebook.safetensors")
    assert codebook.clusters == 3
    card = json.loads(run(train_from_scratch(PRESET, CONFIG, tmp_path / "whole")).with_suffix(".json").read_text())
    assert card["clusters"] == {"sha256": codebook.sha, "curves": "codebook.safetensors"}
    job = train_weights(PRESET, CONFIG, tmp_path / "killed")
    for step in job:
        if step.message.startswith("Training") and step.step == 1 and (tmp_path / "killed" / "clusters-0-state.safetensors").exists():
            job.close()
            break
    again = run(train_weights(PRESET, CONFIG, tmp_path / "killed"))
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_the_clusters_lie_in_the_breast_and_every_voxel_there_has_one(tmp_path: Path) -> None:
    run(train_weights(PRESET, CONFIG, tmp_path))
    for place in (tmp_path / "cases").iterdir():
        clusters, breast = (np.load(place / f"{name}.npy") for name in ("clusters", "breast"))
        np.testing.assert_array_equal(clusters > 0, breast)
        assert clusters.max() <= 3


def test_batch_norm_can_be_trained_too(tmp_path: Path) -> None:
    preset = replace(PRESET, network=partial(network, norm="batch"))
    weights = run(train_weights(preset, CONFIG, tmp_path))
    counters = [value for key, value in weights.items() if key.endswith("num_batches_tracked")]
    assert counters and all(int(value) == CONFIG.steps for value in counters)


def test_the_predictor_never_learns_from_corrections() -> None:
    for preset in (PRESET, PRESET.guided()):
        built = preset.build()
        learning = trained_parameters(built, "all")
        assert learning and not any("hipm" in name for name in learning)
        assert not any(p.requires_grad for name, p in built.named_parameters() if "hipm" in name)


def test_too_few_cases_or_phases_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 cases"):
        run(train_weights(PRESET, replace(CONFIG, phantoms=1), tmp_path / "one"))
    short = replace(PRESET, exemplar=lambda seed, shape: (make_phantom(seed, shape, phases=2).case, np.zeros(shape, np.uint8)))
    with pytest.raises(InputError, match="at least 3 phases"):
        run(train_weights(short, CONFIG, tmp_path / "short"))
