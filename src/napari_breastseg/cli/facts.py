"""What this installation can do, and what each preset is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_breastseg.methods.preset import Preset

PACKAGES = ("napari", "numpy", "torch", "monai", "zarr", "nibabel", "numba", "openvino", "scipy")


def installation() -> dict[str, Any]:
    """Return versions, devices, scan back ends and threads, JSON-ready."""
    import torch

    from napari_breastseg import __version__
    from napari_breastseg.inference.engines import openvino_state
    from napari_breastseg.networks.selective_scan import backends

    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "scan": backends(),
        "cpu engine": {"openvino": openvino_state(), "torch": "ready; used where OpenVINO is missing, fails or gives other numbers"},
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
            **({} if preset.parts is None else {"parts": dict(preset.parts())}),
            "channels": preset.channels,
            "patch": list(preset.patch),
            "spacing_mm": list(preset.spacing),
            "side": preset.side or None,
            "modality": preset.modality,
            **_cost(preset),
            "published": dict(preset.figures),
            "about": preset.about,
        }
        for preset in presets().values()
    ]


def _cost(preset: Preset) -> dict[str, Any]:
    """Return the multiply-adds of a patch of 128 voxels, or of one image, by part, and the operations that they make."""
    if preset.macs is None:
        return {}
    edge = preset.patch[-1] if preset.flat else 128
    parts = dict(preset.macs(edge))
    scan = parts.get("scan", 0)
    total = sum(parts.values())
    return {f"macs_{edge}": {**parts, "total without scan": total - scan, "total": total}, f"gflops_{edge}": round(2 * total / 1e9, 2)}


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
