"""What learns, by device and amount, and the ladder down when memory runs out."""

from __future__ import annotations

import pytest
import torch

from napari_breastseg.methods import get_preset
from napari_breastseg.training.config import Trained
from napari_breastseg.training.parts import choose, ladder, trained_parameters

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("device", "cases", "trained"), [(CPU, 1, "decoder"), (CPU, 50, "decoder"), (GPU, 4, "decoder"), (GPU, 5, "all")])
def test_the_encoder_learns_on_a_gpu_from_enough_cases(device: torch.device, cases: int, trained: Trained) -> None:
    assert choose("auto", device, cases) == trained
    assert choose("norm-and-head", device, cases) == "norm-and-head"


@pytest.mark.parametrize("preset", ["hcma-unet", "hcma-unet/ultrasound"])
def test_the_rest_is_frozen(preset: str) -> None:
    network = get_preset(preset).build()
    everything = {name for name, _ in network.named_parameters()}
    names: dict[Trained, set[str]] = {}
    for trained in ("norm-and-head", "decoder", "all"):
        names[trained] = set(trained_parameters(network, trained))
        assert {name for name, p in network.named_parameters() if p.requires_grad} == names[trained]
    assert names["all"] == everything and names["norm-and-head"] < names["decoder"] < everything
    norms = {f"decoder.{i}.reduce.1.{what}" for i in range(4) for what in ("weight", "bias")}
    assert names["norm-and-head"] == norms | {"head.weight", "head.bias"}


def test_each_rung_of_the_ladder_needs_less() -> None:
    rungs = ladder("all", GPU)
    assert [(rung.trained, rung.device.type, rung.hold.type) for rung in rungs] == [
        ("all", "cuda", "cuda"),
        ("decoder", "cuda", "cuda"),
        ("decoder", "cuda", "cpu"),
        ("decoder", "cpu", "cpu"),
        ("norm-and-head", "cpu", "cpu"),
    ]
    assert not rungs[0].said and all(rung.said for rung in rungs[1:])
    assert [rung.trained for rung in ladder("decoder", CPU)] == ["decoder", "norm-and-head"]
    assert len(ladder("norm-and-head", CPU)) == 1
