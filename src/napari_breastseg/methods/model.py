"""Model: a preset with weights and a card, named by the sha256 of its weights file. Files are safetensors, never pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from napari_breastseg.errors import ModelError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods import DEFAULT, get_preset, presets
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class Model:
    """A preset with weights.

    Attributes
    ----------
    preset : Preset
    weights : mapping of str to Tensor
        float32, on the CPU.
    card : mapping
        JSON-ready: preset, parent, what it was trained on, figures.
    sha : str
        sha256 of the weights file.
    path : Path
        The weights file.
    """

    preset: Preset
    weights: Mapping[str, Tensor]
    card: Mapping[str, Any]
    sha: str
    path: Path

    @property
    def threshold(self) -> float:
        """Probability from which the model sees tumour."""
        return float(self.card.get("threshold", 0.5))

    def network(self, device: torch.device | str = "cpu") -> SegmentationNetwork:
        """Build the network with these weights on `device`, in evaluation mode.

        Raises
        ------
        ModelError
            If the weights do not fit the network.
        """
        network = self.preset.build()
        try:
            network.load_state_dict(dict(self.weights), strict=True)
        except RuntimeError as error:
            raise ModelError(
                f"The weights in {self.path.name} belong to another network than {self.preset.name}. Choose the right file."
            ) from error
        return network.to(device).eval()


def starter_models() -> dict[str, Path]:
    """Weights that ship with the package, by preset name."""
    folder = Path(str(resources.files("napari_breastseg"))) / "weights"
    found = {name: folder / f"{name.replace('/', '-')}.safetensors" for name in presets()}
    return {name: path for name, path in found.items() if path.is_file()}


def load_model(name: str | Path) -> Model:
    """Load a starter model by name (``hcma-unet``, ``hcma-unet/paper``) or any model by the path of its weights.

    Parameters
    ----------
    name : str or Path
        The card is read from the JSON file of the same name beside the weights.

    Raises
    ------
    ModelError
        If there is no such model, the file is damaged or not safetensors, or the weights belong to another network.
    """
    starters = starter_models()
    full = DEFAULT.get(str(name), str(name))
    path = starters.get(full, Path(name))
    if not path.is_file():
        if full in presets():
            raise ModelError(
                f"No weights come with {full}. Train it (napari-breastseg train {full}) and give the path of its .safetensors."
            )
        known = ", ".join([*(name for name, preset in DEFAULT.items() if preset in starters), *starters]) or "none"
        raise ModelError(f"There is no model {str(name)!r}. Give the path of a .safetensors file or one of: {known}.")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path.name} is not a .safetensors file; other formats can run code and are not opened. Convert it first.")
    card_path = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        weights = {key: value.float() for key, value in safetensors.torch.load(content).items()}
        card = json.loads(card_path.read_text(encoding="utf-8"))
        preset = get_preset(card["preset"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The model {path.name} or its card {card_path.name} is missing or damaged. Get both files again.") from error
    model = Model(preset, weights, card, hashlib.sha256(content).hexdigest(), path)
    with torch.device("meta"):
        expected = {key: value.shape for key, value in preset.build().state_dict().items()}
    if {key: value.shape for key, value in weights.items()} != expected:
        raise ModelError(f"The weights in {path.name} belong to another network than {preset.name}. Choose the right file.")
    return model


def save_model(weights: Mapping[str, Tensor], card: Mapping[str, Any], folder: Path, name: str | None = None, half: bool = False) -> Path:
    """Write weights and card so that a crash leaves either both or neither behind; return the path of the weights.

    Parameters
    ----------
    weights : mapping of str to Tensor
    card : mapping
        JSON-ready; must name its "preset".
    folder : Path
    name : str, optional
        File name without suffix; the sha256 of the weights if not given.
    half : bool
        Store float16.
    """
    get_preset(card["preset"])
    tensors = {k: v.detach().cpu().contiguous().to(torch.float16 if half else torch.float32) for k, v in weights.items()}
    content = safetensors.torch.save(tensors)
    stem = name or hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.safetensors"
    write_atomically(path.with_suffix(".json"), json.dumps(dict(card), indent=2, sort_keys=True).encode())
    write_atomically(path, content)
    return path
