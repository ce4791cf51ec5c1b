"""How much memory a prediction needs, and how much there is."""

from __future__ import annotations

import sys
from contextlib import suppress
from math import prod
from pathlib import Path

import psutil
import torch

from napari_breastseg.inference.grids import Plan
from napari_breastseg.preprocess.resample import SLAB

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container, or a job of a cluster, may take."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still take on a device: what is free, or what a limit on the process leaves."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [int(psutil.virtual_memory().available)]
    with suppress(OSError, ValueError):  # no such limit; "max" is no number
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(limit - used)
    if sys.platform == "linux":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            found.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(found))


def bytes_for_arrays(plan: Plan) -> int:
    """Return the bytes of what a prediction keeps and reads besides the network's work: known from the shapes alone."""
    voxels = prod(plan.case.shape)
    boxes = [(prod(high - low for low, high in box), prod(plan.shape(box))) for box in plan.region.boxes]
    result = voxels * 7  # probability, two masks, one comparison
    grids = sum(4 * (plan.preset.channels + 3) * small for _, small in boxes)  # channels, sum, weight, guide
    largest = max(large for large, _ in boxes)
    reading = 2 * 4 * SLAB + 4 * voxels // 16
    return result + grids + max(2 * 4 * largest, reading)


def bytes_for_windows(plan: Plan, edge: int | None, batch: int) -> int:
    """Return about how many bytes the network works in, with windows no longer than `edge` along an axis."""
    voxels = max(prod(_edge(high - low, edge) for low, high in window) for box in plan.region.boxes for window in plan.windows(box))
    return voxels * batch * plan.preset.bytes_per_voxel


def in_words(number: int) -> str:
    """Return bytes as MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _edge(length: int, edge: int | None) -> int:
    return length if edge is None else min(length, edge)
