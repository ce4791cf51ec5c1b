"""One patch through HCMA-UNet on the CPU, beside the network that nnU-Net would choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from napari_breastseg.errors import ComputeError
from napari_breastseg.evaluation.benchmarks.alone import alone, peak_memory
from napari_breastseg.evaluation.benchmarks.timing import copy_bandwidth, machine, peak_flops, side_by_side
from napari_breastseg.evaluation.peers import nnunet
from napari_breastseg.inference.engines import compile_part, forced_engine, openvino_network, openvino_state
from napari_breastseg.networks.hcma_unet import HCMAUNet
from napari_breastseg.networks.macs import SCAN, hcma_unet_macs
from napari_breastseg.progress import Job, Progress

Forward = Callable[[Tensor], object]
OURS, PEER = "HCMA-UNet", "DynUNet (nnU-Net plan)"


def forwards(size: int) -> dict[str, Callable[[], Forward]]:
    """Return what builds each network for each engine, by name, without building it; the patch has the edge `size`."""
    ways: dict[str, Callable[[], Forward]] = {f"{OURS}, torch": lambda: HCMAUNet().eval(), f"{PEER}, torch": lambda: nnunet().eval()}
    if openvino_state().startswith("ready") and forced_engine() != "torch":
        ways |= {f"{OURS}, OpenVINO": _ours, f"{PEER}, OpenVINO": partial(_peer, size)}
    return ways


def _ours() -> Forward:
    compiled = openvino_network(HCMAUNet().eval(), 1, "benchmark")
    if isinstance(compiled, str):
        raise ComputeError(compiled)
    return compiled


def _peer(size: int) -> Forward:
    """Compile the peer for this size alone, as who uses it in OpenVINO would; ours is compiled for any size, as it is used."""
    peer = nnunet().eval()
    patch = torch.zeros(1, 1, size, size, size)
    request = compile_part(nn.Sequential(peer.body, peer.head), [patch], any_size=False).create_infer_request()
    return lambda x: request.infer([x.movedim(1, -1).contiguous().numpy()], share_inputs=True, share_outputs=True)[0]


def benchmark_forward(size: int = 128, repeats: int = 3) -> Job[dict[str, Any]]:
    """Measure seconds side by side and peak memory, each network in a process of its own.

    Parameters
    ----------
    size : int
        Edge of the patch; a multiple of 32, at least 64.
    repeats : int
        The median of so many runs counts.

    Returns
    -------
    dict
        JSON-ready: seconds, ratios to the peer, peak memory in MiB, and the floor.
    """
    names = list(forwards(size))
    memory = {}
    for done, name in enumerate(names):
        yield Progress(done, len(names), f"Memory of {name}")
        memory[name] = alone(name, _measure_memory, name, size)
    torch.manual_seed(0)
    x = torch.randn(1, 1, size, size, size)
    seconds = yield from side_by_side({name: forward_task(build(), x) for name, build in forwards(size).items()}, repeats)
    peak = peak_flops()
    arithmetic = computed_operations(size) / peak
    rows = [
        {
            "network": name,
            "seconds": seconds[name],
            "of_peer_in_torch": seconds[name] / seconds[f"{PEER}, torch"],
            "of_peer_in_openvino": seconds[name] / seconds[f"{PEER}, OpenVINO"] if f"{PEER}, OpenVINO" in seconds else None,
            "peak_memory_mib": memory[name],
            "times_the_floor": seconds[name] / arithmetic if name.startswith(OURS) else None,
        }
        for name in names
    ]
    floor = {"seconds": arithmetic, "peak_gflops": peak / 1e9, "copy_gb_per_s": copy_bandwidth() / 1e9}
    return {"machine": machine(), "size": size, "repeats": repeats, "floor": floor, "rows": rows}


def computed_operations(size: int) -> float:
    """Floating-point operations of one patch as HCMA-UNet computes them, fused layers as one; the scan at 9 for a state and step."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # the fused attention of CPUs would escape the counter
        HCMAUNet().eval().requires_grad_(False)(torch.zeros(1, 1, size, size, size))
    return float(counter.get_total_flops() + 2 * hcma_unet_macs(size=size)[SCAN])


def forward_task(forward: Forward, x: Tensor) -> Callable[[], object]:
    """Return one pass of `x` without gradients."""

    def task() -> object:
        with torch.inference_mode():
            return forward(x)

    return task


def _measure_memory(name: str, size: int) -> float:
    """Return the peak resident memory, MiB, of building the network and running one patch twice."""
    task = forward_task(forwards(size)[name](), torch.randn(1, 1, size, size, size))
    task()
    task()
    return peak_memory()
