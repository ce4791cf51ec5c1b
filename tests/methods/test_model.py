"""Models on disk: named by their hash, refused when damaged or foreign."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_breastseg.errors import ModelError
from napari_breastseg.methods import get_preset, presets
from napari_breastseg.methods.model import load_model, save_model, starter_models


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    weights = get_preset("hcma-unet/paper").build().state_dict()
    return save_model(weights, {"preset": "hcma-unet/paper"}, tmp_path_factory.mktemp("models"))


def copy(saved: Path, folder: Path) -> Path:
    for path in (saved, saved.with_suffix(".json")):
        shutil.copy(path, folder)
    return folder / saved.name


def test_a_model_is_named_by_its_hash_and_comes_back_the_same(saved: Path) -> None:
    model = load_model(saved)
    assert model.sha == saved.stem == hashlib.sha256(saved.read_bytes()).hexdigest()
    torch.manual_seed(0)
    for key, value in get_preset("hcma-unet/paper").build().state_dict().items():
        assert torch.equal(model.weights[key], value)


def test_published_counts_through_the_registry() -> None:
    counts = {name: preset.parameters() for name, preset in presets().items()}
    assert counts["hcma-unet/paper"] == 2_872_984
    assert counts["hcma-unet/mamba3d"] == 3_223_020


def test_damaged_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    path = copy(saved, tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        load_model(path)


def test_weights_of_another_network_are_refused(saved: Path, tmp_path: Path) -> None:
    path = copy(saved, tmp_path)
    path.with_suffix(".json").write_text(json.dumps({"preset": "hcma-unet/baseline"}))
    with pytest.raises(ModelError, match="another network"):
        load_model(path)


def test_a_pickle_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="can run code"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="no model"):
        load_model("segment-everything")


def test_starter_weights_ship_with_cards() -> None:
    starters = starter_models()
    assert {"hcma-unet/practical", "hcma-unet/paper", "ha-net/compact", "brems-net/compact"} <= set(starters)
    assert sum(path.stat().st_size for path in starters.values()) < 40e6
    for name, path in starters.items():
        card = load_model(path).card
        assert card["preset"] == name
        assert "not for clinical use" in card["intended_use"].lower()


def test_torchs_compiler_is_not_loaded_to_predict() -> None:
    """It takes more than a second, and Python then has half as many objects more to look through whenever it collects garbage."""
    code = (
        "import sys\n"
        "from napari_breastseg.inference import predict\n"
        "from napari_breastseg.methods.model import load_model\n"
        "from napari_breastseg.phantom import make_phantom\n"
        "from napari_breastseg.progress import run\n"
        "case = make_phantom(0, (16, 24, 24), phases=2, lesions=1).case\n"
        "run(predict(case, load_model('hcma-unet'), device='cpu'))\n"
        "print(sorted({'torch._dynamo', 'sympy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
