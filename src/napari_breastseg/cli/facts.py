"""What this installation can do, and what each preset is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("napari", "numpy", "torch", "monai", "zarr", "nibabel", "numba", "scipy")


def installation() -> dict[str, Any]:
    """Return versions, devices, scan back ends and threads, JSON-ready."""
    import torch

    from napari_breastseg import __version__
    from napari_breastseg.networks.selective_scan import backends

    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "scan": backends(),
        "threads": {"processors": os.cpu_count(), "torch": torch.get_num_threads()},
    }


def preset_facts() -> list[dict[str, Any]]:
    """Return every preset, JSON-ready; the parameters are counted by building the network without its memory."""
    from napari_breastseg.methods import DEFAULT, presets

    return [
        {
            "name": preset.name,
            "method": preset.method,
            "default": preset.name in DEFAULT.values(),
            "parameters": preset.parameters(),
            "channels": preset.channels,
            "patch": list(preset.patch),
            "spacing_mm": list(preset.spacing),
            "modality": preset.modality,
            "published": dict(preset.figures),
            "about": preset.about,
        }
        for preset in presets().values()
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": platform.processor() or platform.machine()}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found
