"""Times the scan back ends and the whole HCMA-UNet on a GPU, side by side in one run, against what the memory's speed allows.

The floor is the time that the measured copy bandwidth needs for the bytes that must move: each input read once, each output written once.
Everything is in float32, as the scan always is; a prediction runs what is around it in bfloat16.
Results are Markdown on the screen::

    python benchmarks/gpu_scan.py --batch 1
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_breastseg.methods import get_preset
from napari_breastseg.networks.selective_scan import blocked, chosen_backend
from napari_breastseg.networks.selective_scan.reference import visiting_order

PATCH = 128
STAGES = {1: (64, 4), 2: (32, 8), 3: (16, 16), 4: (16, 32)}  # edge of the volume and channels of the widest view, the axial one
ROUTES, STATES = 4, 32
ROUNDS = 20
HEAVY = ("conv", "linear", "matmul", "mm", "attention", "cross_scan")  # operators whose inputs and outputs no fusion saves


def main() -> int:
    """Measure and print; return 1 if there is nothing to measure on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1, help="patches at once")
    batch = parser.parse_args().batch
    if not torch.cuda.is_available():
        print("There is no GPU here: run this on a machine with an NVIDIA GPU and a build of torch for it.")
        return 1
    speed = copy_speed()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {batch}, copies at {speed / 1e9:.0f} GB/s\n")
    scans = scan_backends()
    print("| stage | pass | floor, ms | " + " | ".join(f"{name}, ms (x floor; off by)" for name in scans) + " |")
    print("|---|---|---|" + "---|" * len(scans))
    for stage, (edge, channels) in STAGES.items():
        for row in scan_rows(scans, batch, edge, channels, speed):
            print(f"| {stage} | " + " | ".join(row) + " |", flush=True)
    print("\n" + "\n".join(network_rows(batch, speed)))
    return 0


def scan_backends() -> dict[str, ModuleType]:
    """Return the back ends that can run, and say why the others cannot."""
    from napari_breastseg.networks.selective_scan import cuda

    found: dict[str, ModuleType] = {"blocked": blocked}
    if importlib.util.find_spec("triton"):
        from napari_breastseg.networks.selective_scan import triton

        found = {"triton": triton, **found}
    if cuda.available() == "ready":
        found["mamba-ssm"] = cuda
    else:
        print(f"{cuda.available()}\n")
    return found


def copy_speed() -> float:
    """Bytes a second of a large copy, read and written."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    [milliseconds] = times([lambda: target.copy_(source)])
    return 2 * source.nbytes / milliseconds * 1e3


def times(calls: list[Callable[[], Any]]) -> list[float]:
    """Median milliseconds of each call; the calls take turns, so that a change of clock meets all of them."""
    for call in calls:
        for _ in range(3):
            call()
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, list_ in zip(calls, taken, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            list_.append(start.elapsed_time(end))
    return [median(list_) for list_ in taken]


def scan_rows(scans: dict[str, ModuleType], batch: int, edge: int, channels: int, speed: float) -> Iterable[list[str]]:
    """Time the scan of the axial view of one stage, forward alone and with the backward pass."""
    g = torch.Generator("cuda").manual_seed(0)
    line = (batch, edge**3, ROUTES)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, device="cuda")

    u, grad, delta = normal(batch, edge**3, channels), normal(batch, edge**3, channels), normal(*line, channels)
    a = -torch.arange(1.0, STATES + 1, device="cuda").expand(ROUTES, channels, STATES)
    _, b, c = normal(*line, channels // 4 + 2 * STATES).split([channels // 4, STATES, STATES], -1)  # slices, as the network gives them
    rest = (u, delta, a, b, c, normal(ROUTES, channels), normal(ROUTES, channels) - 2, visiting_order(ROUTES, (edge,) * 3, 0).cuda())

    def results(module: ModuleType) -> list[Tensor]:
        return [module.forward(*rest), *module.backward(grad, *rest)]

    expected = results(blocked)
    off = {name: difference(results(module), expected) for name, module in scans.items()}
    forth = times([partial(module.forward, *rest) for module in scans.values()])
    both = times([partial(results, module) for module in scans.values()])
    moved = moved_once([u, delta, b, c]) + u.nbytes
    moved_back = moved_once([grad, u, delta, b, c]) + moved_once([u, delta, b, c])
    for name, milliseconds, bytes_ in (("forward", forth, moved), ("forward and backward", both, moved + moved_back)):
        floor = bytes_ / speed * 1e3
        cells = [f"{t:.3f} ({t / floor:.1f}; {off[scan]:.0e})" for scan, t in zip(scans, milliseconds, strict=True)]
        yield [name, f"{floor:.3f}", *cells]


def moved_once(tensors: Iterable[Tensor]) -> int:
    """Bytes of the numbers that tensors show, whatever lies between them."""
    return sum(t.numel() * t.element_size() for t in tensors)


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference of any tensor, as a part of its largest value."""
    return max(((one - other).abs().max() / other.abs().max()).item() for one, other in zip(got, expected, strict=True))


class HeavyBytes(TorchDispatchMode):
    """Counts the bytes that the heavy operators read and write."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it."""
        result = func(*args, **(kwargs or {}))
        if any(part in func.name() for part in HEAVY):
            self.total += moved_once(t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor))
        return result


def network_rows(batch: int, speed: float) -> Iterable[str]:
    """Time the forward pass of the published network on one patch, launched step by step and as one CUDA graph."""
    network = get_preset("hcma-unet/paper").build().cuda().eval()
    x = torch.randn(batch, 1, PATCH, PATCH, PATCH, device="cuda")
    with torch.inference_mode():
        with HeavyBytes() as count:
            network(x)
        floor = count.total / speed * 1e3
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                network(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            network(x)
        eager, graphed = times([lambda: network(x), graph.replay])
    scan = chosen_backend(x.device, x.dtype)
    yield f"hcma-unet/paper, patch {PATCH}, float32, scan by {scan}; its heavy operators move {count.total / 1e9:.2f} GB\n"
    yield "| | ms | x floor |"
    yield "|---|---|---|"
    for name, milliseconds in (("floor", floor), ("eager", eager), ("CUDA graph", graphed)):
        yield f"| {name} | {milliseconds:.2f} | {milliseconds / floor:.1f} |"


if __name__ == "__main__":
    sys.exit(main())
