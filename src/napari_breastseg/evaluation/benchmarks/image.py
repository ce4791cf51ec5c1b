"""One image through HA-Net on the CPU, beside two of MONAI's U-Nets, in the same run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from monai.networks.nets import AttentionUnet, BasicUNet
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.evaluation.benchmarks.forward import Forward, forward_task
from napari_breastseg.evaluation.benchmarks.timing import machine, side_by_side
from napari_breastseg.inference.engines import compile_part, forced_engine, openvino_network, openvino_state
from napari_breastseg.methods import get_preset
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.networks.unet import WIDTHS
from napari_breastseg.progress import Job

OURS = {"HA-Net": "ha-net/paper", "HA-Net compact": "ha-net/compact"}
BASIC, ATTENTION = "BasicUNet (MONAI)", "AttentionUnet (MONAI)"
PEERS: dict[str, Callable[[], nn.Module]] = {
    BASIC: lambda: BasicUNet(2, 1, 1),
    ATTENTION: lambda: AttentionUnet(2, 1, 1, WIDTHS, [2] * (len(WIDTHS) - 1)),
}
"""BasicUNet with MONAI's own widths, AttentionUnet, which has none, with those of the U-Net that HA-Net's paper compares with."""
TORCH, OPENVINO = "torch", "OpenVINO"


def benchmark_image(size: int = 256, repeats: int = 21) -> Job[dict[str, Any]]:
    """Measure seconds of one image side by side, each network in torch and, where there is one, in OpenVINO.

    Parameters
    ----------
    size : int
        Pixels a side; a multiple of 32.
    repeats : int
        The median of so many runs counts.

    Returns
    -------
    dict
        JSON-ready: for each network and engine the parameters, seconds, and how much of each peer's time in the same engine that is.
    """
    networks: dict[str, Callable[[], nn.Module]] = {name: get_preset(preset).build for name, preset in OURS.items()}
    networks |= PEERS
    engines = [TORCH]
    if openvino_state().startswith("ready") and forced_engine() != "torch":
        engines.append(OPENVINO)
    torch.manual_seed(0)
    built = {name: build().eval() for name, build in networks.items()}
    plane = torch.rand(1, 1, size, size)
    tasks = {(name, engine): forward_task(_forward(network, engine, plane), plane) for name, network in built.items() for engine in engines}
    seconds = yield from side_by_side({", ".join(key): task for key, task in tasks.items()}, repeats)
    rows = [
        {
            "network": name,
            "engine": engine,
            "parameters": sum(parameter.numel() for parameter in built[name].parameters()),
            "seconds": seconds[f"{name}, {engine}"],
            "of_basic_unet": seconds[f"{name}, {engine}"] / seconds[f"{BASIC}, {engine}"],
            "of_attention_unet": seconds[f"{name}, {engine}"] / seconds[f"{ATTENTION}, {engine}"],
        }
        for name, engine in tasks
    ]
    return {"machine": machine(), "size": size, "repeats": repeats, "rows": rows}


def _forward(network: nn.Module, engine: str, plane: Tensor) -> Forward:
    """Return what maps an image (1, 1, H, W) to its logits in an engine."""
    if isinstance(network, SegmentationNetwork):
        ours: Forward | str = network if engine == TORCH else openvino_network(network, 1, f"benchmark {id(network)}")
        if isinstance(ours, str):
            raise ComputeError(ours)
        return partial(_through_volume, ours)
    if engine == TORCH:
        return network
    # For this size alone, as who uses it in OpenVINO would; ours is compiled for any size, as it is used.
    request = compile_part(network, [plane], any_size=False).create_infer_request()
    return lambda x: request.infer([x.movedim(1, -1).contiguous().numpy()], share_inputs=True, share_outputs=True)[0]


def _through_volume(forward: Forward, plane: Tensor) -> object:
    """Hand an image on as a volume of one slice."""
    return forward(plane[:, :, None])
