"""Encoders that were trained on ImageNet, from a file of one's own: nothing is downloaded.

Files are safetensors with the names of torchvision's DenseNet-121 or ResNet-50. torchvision's own files are pickles, which can run code and
are never opened here; docs/methods/ha_net.md tells how to convert one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from napari_breastseg.errors import ModelError
from napari_breastseg.methods.preset import Preset

Names = Callable[[str], str | None]
"""What a tensor of the file is called in the network's encoder; None if it has no place there."""
ENCODER = "encoder."
COUNTER = "num_batches_tracked"
"""What norms count, and some files leave out."""


def densenet_name(name: str) -> str | None:
    """Return MONAI's name of one of torchvision's tensors of DenseNet-121, of either of the two ways in which these have been called."""
    if not name.startswith("features."):
        return None  # the classifier
    layer = re.sub(r"(denselayer\d+)\.(norm|conv)\.?(\d)\.", r"\1.layers.\2\3.", name.removeprefix("features."))
    return ENCODER + layer


def resnet_name(name: str) -> str | None:
    """Return MONAI's name of one of torchvision's tensors of ResNet-50, which is the same."""
    return None if name.startswith("fc.") else ENCODER + name


def load_encoder(path: Path, preset: Preset) -> dict[str, Tensor]:
    """Read the weights of a preset's encoder, by their names in its network.

    Parameters
    ----------
    path : Path
        A safetensors file.
    preset : Preset
        With `encoder_names`.

    Raises
    ------
    ModelError
        If the preset has no such encoder, or the file is not safetensors, or lacks tensors or holds others.
    """
    if preset.encoder_names is None:
        raise ModelError(f"{preset.name} has no encoder that ImageNet weights fit. Leave the encoder's file out.")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path.name} is not a .safetensors file; other formats can run code and are not opened. Convert it first.")
    try:
        stored = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is missing or damaged. Get the file again.") from error
    named = {own: value.float() for name, value in stored.items() if (own := preset.encoder_names(name)) is not None}
    expected = {name: value.shape for name, value in preset.build().state_dict().items() if name.startswith(ENCODER)}
    missing = sorted(name for name in expected.keys() - named.keys() if not name.endswith(COUNTER))
    wrong = sorted(name for name, value in named.items() if expected.get(name) != value.shape)
    if missing or wrong:
        raise ModelError(
            f"{path.name} does not fit the encoder of {preset.name}: {len(missing)} tensors are missing and {len(wrong)} do not belong "
            f"there ({(missing + wrong)[0].removeprefix(ENCODER)}). Give the file of {preset.encoder}."
        )
    return named
