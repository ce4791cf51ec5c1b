"""How much memory a prediction needs, and how much there is."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from math import prod
from pathlib import Path

import psutil
import torch

from napari_breastseg.inference.grids import Plan
from napari_breastseg.preprocess.resample import SLAB

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux says what a container, or a job of a cluster, may take, and to which of them this process belongs."""
NAMES = ("memory.max", "memory.current", "inactive_file"), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files of the limit and of what is taken, and the entry of what is taken by files that would be let go: versions 2 and 1."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still take on a device: what is free, or what a limit on it or on its group leaves."""
    if device.type == "cuda":  # what torch holds and does not use counts as taken there
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    found = [int(psutil.virtual_memory().available), *_left_to_groups()]
    if sys.platform == "linux":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            found.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(found))


def _left_to_groups() -> list[int]:
    """Return what the limits of the process's control groups leave, of its own and of those above it."""
    found = []
    with suppress(OSError):
        for line in OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                top, names = CGROUPS, NAMES[0]
            elif "memory" in controllers.split(","):
                top, names = CGROUPS / "memory", NAMES[1]
            else:
                continue
            own = top / path.lstrip("/")
            for group in (own, *own.parents):
                if group.is_relative_to(top):
                    with suppress(OSError, ValueError):  # no such file here; "max" is no number
                        limit, taken = (int((group / name).read_text()) for name in names[:2])
                        found.append(limit - taken + _entry(group / "memory.stat", names[2]))
    return found


def _entry(file: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name), 0)


def bytes_for_arrays(plan: Plan, mirror: bool = False) -> int:
    """Return the bytes of what a prediction, in mirror images or not, keeps and reads besides the network's work: known from the shapes."""
    voxels = prod(plan.case.shape)
    boxes = [(prod(high - low for low, high in box), prod(plan.shape(box))) for box in plan.region.boxes]
    result = voxels * (7 + 12 * mirror)  # probability, two masks, one comparison; the entropy and its two terms
    grids = sum(4 * (len(plan.inputs.weights) + 3) * small for _, small in boxes)  # channels, sum, weight, guide
    largest = max(large for large, _ in boxes)
    reading = 2 * 4 * SLAB + 4 * voxels // 16
    return result + grids + max(2 * 4 * largest, reading)


def bytes_for_windows(plan: Plan, edge: int | None, batch: int) -> int:
    """Return about how many bytes the network works in, with windows no longer than `edge` along an axis."""
    voxels = max(prod(_edge(high - low, edge) for low, high in window) for box in plan.region.boxes for window in plan.windows(box))
    return voxels * batch * plan.preset.bytes_per_voxel


def give_back() -> None:
    """Give memory that was freed back to the system; the C library of Linux keeps it, and grows from one large window to the next."""
    if _trim is not None:
        _trim(0)


def in_words(number: int) -> str:
    """Return bytes as MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _edge(length: int, edge: int | None) -> int:
    return length if edge is None else min(length, edge)
