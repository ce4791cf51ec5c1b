"""Timing several things side by side, and what the machine could do at best."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from napari_breastseg.progress import Job, Progress


def side_by_side(tasks: Mapping[str, Callable[[], object]], repeats: int) -> Job[dict[str, float]]:
    """Run every task once to warm up, then all in turn, `repeats` times; return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    total = len(tasks) * (repeats + 1)
    for done in range(total):
        name = list(tasks)[done % len(tasks)]
        yield Progress(done, total, f"Measuring {name}")
        began = time.perf_counter()
        tasks[name]()
        if done >= len(tasks):
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, versions, and how busy the machine is with other work."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in ("torch", "numba", "openvino", "monai")}},
    }


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes per second, read and written together, of copying a block of memory: the best of five."""
    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source))


def peak_flops(size: int = 1536) -> float:
    """Floating-point operations per second of a float32 matrix product: the best of five."""
    a = torch.ones(size, size)
    return 2 * size**3 / _best(lambda: a @ a)


def _best(task: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
