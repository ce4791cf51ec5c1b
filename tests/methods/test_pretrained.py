"""ImageNet weights by torchvision's names: every tensor finds its place, and files that do not fit are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from napari_breastseg.errors import ModelError
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.pretrained import densenet_name, load_encoder, resnet_name
from napari_breastseg.networks.brems_net import BReMSNet

NORM = ("weight", "bias", "running_mean", "running_var")


def densenet_names(old: bool) -> Iterator[str]:
    """The names in torchvision's DenseNet-121, written out from its layers; `old` as in the file densenet121-a639ec97."""
    dot = "." if old else ""
    yield "features.conv0.weight"
    yield from (f"features.norm0.{part}" for part in NORM)
    for block, layers in enumerate((6, 12, 24, 16), 1):
        for layer in range(1, layers + 1):
            for number in (1, 2):
                yield from (f"features.denseblock{block}.denselayer{layer}.norm{dot}{number}.{part}" for part in NORM)
                yield f"features.denseblock{block}.denselayer{layer}.conv{dot}{number}.weight"
        if block < 4:
            yield from (f"features.transition{block}.norm.{part}" for part in NORM)
            yield f"features.transition{block}.conv.weight"
    yield from (f"features.norm5.{part}" for part in NORM)


def resnet_names() -> Iterator[str]:
    """The names in torchvision's ResNet-50, written out from its layers."""
    yield "conv1.weight"
    yield from (f"bn1.{part}" for part in (*NORM, "num_batches_tracked"))
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            pairs = [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)] + ([("downsample.0", "downsample.1")] if block == 0 else [])
            for conv, norm in pairs:
                yield f"layer{stage}.{block}.{conv}.weight"
                yield from (f"layer{stage}.{block}.{norm}.{part}" for part in (*NORM, "num_batches_tracked"))


@pytest.fixture(scope="module")
def densenet() -> dict[str, Tensor]:
    """Random weights of DenseNet-121 in torchvision's names, shapes and order, classifier included."""
    own = get_preset("ha-net/paper").build().encoder.state_dict()
    values = [torch.randn(v.shape) for k, v in own.items() if not k.endswith("num_batches_tracked")]
    named = dict(zip(densenet_names(old=False), values, strict=True))
    return {**named, "classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}


@pytest.mark.parametrize("old", [False, True])
def test_all_604_tensors_of_densenet_121_round_trip(densenet: dict[str, Tensor], tmp_path: Path, old: bool) -> None:
    names = list(densenet_names(old))
    assert len(names) == 604
    values = list(densenet.values())[:604]
    path = tmp_path / "densenet121.safetensors"
    safetensors.torch.save_file({**dict(zip(names, values, strict=True)), "classifier.bias": torch.zeros(1000)}, path)
    preset = get_preset("ha-net/paper")
    found = load_encoder(path, preset)
    assert len(found) == 604
    network = preset.build()
    left = network.load_state_dict(found, strict=False)
    assert left.unexpected_keys == []
    assert [key for key in left.missing_keys if key.startswith("encoder.") and not key.endswith("num_batches_tracked")] == []
    own = network.encoder.state_dict()  # the layers in their order are torchvision's
    kept = [value for key, value in own.items() if not key.endswith("num_batches_tracked")]
    assert all(torch.equal(a, b) for a, b in zip(kept, values, strict=True))


def test_all_318_tensors_of_resnet_50_keep_their_names() -> None:
    names = list(resnet_names())
    assert len(names) == 318
    with torch.device("meta"):
        expected = {key for key in BReMSNet().state_dict() if key.startswith("encoder.")}
    assert {resnet_name(name) for name in names} == expected
    assert resnet_name("fc.weight") is None


def test_a_file_that_lacks_a_tensor_or_holds_another_is_refused(densenet: dict[str, Tensor], tmp_path: Path) -> None:
    path, preset = tmp_path / "some.safetensors", get_preset("ha-net/paper")
    less = {k: v for k, v in densenet.items() if k != "features.norm5.bias"}
    safetensors.torch.save_file(less, path)
    with pytest.raises(ModelError, match=r"1 tensors are missing and 0 do not belong there \(norm5.bias\). Give the file of DenseNet-121"):
        load_encoder(path, preset)
    safetensors.torch.save_file({**densenet, "features.conv0.weight": torch.zeros(64, 1, 7, 7)}, path)
    with pytest.raises(ModelError, match="0 tensors are missing and 1 do not belong there"):
        load_encoder(path, preset)


def test_other_presets_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ha-net/compact has no encoder that ImageNet weights fit"):
        load_encoder(tmp_path / "some.safetensors", get_preset("ha-net/compact"))
    for name, why in (("densenet121.pth", "not a .safetensors file"), ("missing.safetensors", "missing or damaged")):
        with pytest.raises(ModelError, match=why):
            load_encoder(tmp_path / name, get_preset("ha-net/paper"))


def test_names_of_what_is_not_the_encoder_are_none() -> None:
    assert densenet_name("classifier.weight") is None
    assert densenet_name("features.denseblock1.denselayer2.conv.1.weight") == "encoder.denseblock1.denselayer2.layers.conv1.weight"
