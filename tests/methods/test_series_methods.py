"""TSESNet and HCNet as presets: published counts, what they see, and predictions of cases with any number of phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.inference import explain, predict
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.inference.predicted_clusters import predicted_clusters
from napari_breastseg.inference.runner import Runner
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.networks.tsesnet import TSESNet
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import run

PUBLISHED = {"paper": 103.58, "bottleneck": 98.93, "cnn": 101.16, "mean-pool": 98.31}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_tsesnet_has_the_published_parameters_within_a_percent_and_a_half(name: str, millions: float) -> None:
    preset = get_preset(f"tsesnet/{name}")
    assert preset.figures["parameters_millions"] == millions
    assert preset.parameters() / 1e6 == pytest.approx(millions, rel=0.015)


def test_hcnet_has_the_counts_of_its_parts() -> None:
    preset = get_preset("hcnet/paper")
    assert preset.parts is not None
    counts = preset.parts()
    assert counts["3D UX-Net with 14 classes"] == 53_006_510
    assert (counts["ResUNet"], counts["KIS-Net"]) == (5_102_401, 5_151_121)
    assert preset.parameters() == counts["KIS-Net"] + counts["HIPM, 3D UX-Net with 11 classes"]


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[str], Model]:
    """A model of a method that is small enough to run at once, with random weights."""

    def make(method: str) -> Model:
        networks: dict[str, Any] = {
            "tsesnet": partial(TSESNet, (4, 8, 8, 8, 8), ta="split", time_embedding=True),
            "hcnet": partial(HCNet, 4, (4, 8), "instance", 0.1, (8, 8, 8, 8), 8),
        }
        preset: Preset = replace(get_preset(method), network=networks[method], patch=(32, 32, 32), window=(32, 32, 32), spacing=(8.0,) * 3)
        torch.manual_seed(0)
        return Model(preset, preset.build().state_dict(), {}, "0" * 64, tmp_path / "model.safetensors")

    return make


@pytest.fixture(scope="module")
def case() -> Case:
    return make_phantom(2, (32, 48, 48), phases=8).case


@pytest.mark.parametrize("phases", [2, 3, 5, 8])
def test_tsesnet_predicts_a_case_of_any_number_of_phases(tiny: Callable[[str], Model], case: Case, phases: int) -> None:
    shown = Case(case.name, case.images[:phases], case.geometry, case.times[:phases])
    found = run(predict(shown, tiny("tsesnet"), device="cpu"))
    assert found.probability.shape == case.shape and 0 < found.probability.max() < 1


def test_tsesnet_asks_when_the_phases_were_taken(tiny: Callable[[str], Model], case: Case) -> None:
    model = tiny("tsesnet")
    slow = case.with_times(tuple(t if t < 0 else 2 * t for t in case.times))
    first, second = (run(predict(one, model, device="cpu")).probability for one in (case, slow))
    assert np.abs(first - second).max() > 1e-4


def test_a_case_without_times_is_predicted_as_by_the_nominal_protocol(tiny: Callable[[str], Model], case: Case) -> None:
    model = tiny("tsesnet")
    nominal = case.with_times((-60.0, *(90.0 * i for i in range(1, case.phases))))
    unknown = Case(case.name, case.images, case.geometry)
    first, second = (run(predict(one, model, device="cpu")) for one in (nominal, unknown))
    np.testing.assert_array_equal(first.probability, second.probability)
    assert first.details["times_assumed"] == [] and "have no times" in second.details["times_assumed"][0]


def test_hcnet_sees_nothing_but_the_phase_before_contrast(tiny: Callable[[str], Model], case: Case) -> None:
    model = tiny("hcnet")
    alone = Case(case.name, case.images[:1], case.geometry, modality="mri")
    first, second = (run(predict(one, model, device="cpu")).probability for one in (case, alone))
    np.testing.assert_array_equal(first, second)


def test_one_phase_is_refused_in_words(tiny: Callable[[str], Model], case: Case) -> None:
    with pytest.raises(InputError, match="has one phase.*Use hcnet instead"):
        run(predict(Case("one", case.images[:1], case.geometry), tiny("tsesnet"), device="cpu"))


@pytest.mark.parametrize("method", ["tsesnet", "hcnet"])
def test_either_can_be_asked_why(tiny: Callable[[str], Model], case: Case, method: str) -> None:
    mask = make_phantom(2, (32, 48, 48), phases=8).tumour
    found = run(explain(case, tiny(method), mask, device="cpu"))
    assert np.abs(found.maps["frloss-similarity"]).max() > 0
    assert ("clusters-predicted" in found.maps) == (method == "hcnet")


def test_the_predicted_clusters_are_the_likeliest_of_one_window(tiny: Callable[[str], Model], case: Case) -> None:
    model = tiny("hcnet")
    plan, _ = plan_grids(case, replace(model.preset, patch=(64, 64, 64)), "full")
    (grid,) = plan
    assert len(grid.windows) == 1
    found = run(predicted_clusters(case, plan, Runner(model, "cpu")))
    with torch.no_grad():
        network = model.network()
        assert isinstance(network, HCNet)
        expected = network.hipm(torch.from_numpy(grid.channels)[None])[0].argmax(0).numpy()
    z, y, x = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(case.shape, grid.shape, strict=True))
    np.testing.assert_array_equal(found, expected[np.ix_(z, y, x)])


@pytest.mark.parametrize("name", ["tsesnet/compact", "hcnet/compact"])
def test_the_compact_presets_are_kept_and_read_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = get_preset(name).build().state_dict()
    model = load_model(save_model(weights, {"preset": name}, tmp_path))
    network = model.network()
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
