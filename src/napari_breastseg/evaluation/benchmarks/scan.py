"""The selective scan's back ends against the loop over time steps that the reference implementations of Mamba run without a GPU kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from napari_breastseg.evaluation.benchmarks.timing import copy_bandwidth, machine, peak_flops, side_by_side
from napari_breastseg.networks.selective_scan import backends, cross_scan, force_backend
from napari_breastseg.networks.selective_scan.reference import visiting_order
from napari_breastseg.progress import Job

Scan: TypeAlias = Callable[..., Tensor]

OPERATIONS = 20
"""Arithmetic of one state in one step: an exponential of 14 (polynomial, exponent, clamp), two products added, and the weighting by c."""


def loop_scan(
    u: Tensor, project: Tensor, project_dt: Tensor, a: Tensor, skip: Tensor, bias: Tensor, size: tuple[int, int, int], axis: int = 0
) -> Tensor:
    """Compute :func:`cross_scan`, of the same arguments and result, in the steps of Mamba's and VMamba's plain-torch references.

    The routes are copied out as (batch, route x channel, time); decay, drive and the output vectors of every channel are laid out for all
    steps as (batch, channel, time, state) and (batch, channel, state, time); a Python loop takes one step after another.
    """
    order = visiting_order(a.shape[0], size, axis)
    (slices, routes, length), (channels, states), rank = order.shape, a.shape[1:], project_dt.shape[2]
    x = u[:, order].permute(0, 1, 2, 4, 3).flatten(0, 1)
    low, b, c = torch.einsum("bkct,kpc->bkpt", x, project).split([rank, states, states], dim=2)
    delta = softplus(torch.einsum("bkrt,kcr->bkct", low, project_dt) + bias[..., None]).flatten(1, 2)
    x = x.flatten(1, 2)
    b, c = (v.repeat_interleave(channels, 1) for v in (b, c))
    decay = torch.exp(torch.einsum("bdt,dn->bdtn", delta, a.flatten(0, 1)))
    drive = torch.einsum("bdt,bdnt,bdt->bdtn", delta, b, x)
    h, steps = x.new_zeros(x.shape[0], routes * channels, states), []
    for t in range(length):
        h = decay[:, :, t] * h + drive[:, :, t]
        steps.append(torch.einsum("bdn,bdn->bd", h, c[:, :, :, t]))
    y = torch.stack(steps, 2) + skip.flatten()[:, None] * x
    flat = y.view(u.shape[0], slices, routes, channels, length).permute(0, 1, 2, 4, 3).flatten(1, 3)
    return torch.zeros_like(u).index_add(1, order.flatten(), flat)


def scan_inputs(voxels: int, channels: int, states: int, rank: int = 1) -> list[Tensor]:
    """Return random tokens (1, voxels, channels) and the weights of four routes, in the order and shapes of :func:`cross_scan`."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    a = -torch.arange(1.0, states + 1).expand(4, channels, states).contiguous()
    projections = [normal(4, rank + 2 * states, channels) / channels**0.5, normal(4, channels, rank)]
    return [normal(1, voxels, channels), *projections, a, normal(4, channels), normal(4, channels) - 3]


def benchmark_scan(length: int = 1024, states: int = 32, channels: int = 8, slices: int = 32, repeats: int = 3) -> Job[dict[str, Any]]:
    """Measure every back end forward, and forward and backward, at one size.

    Parameters
    ----------
    length : int
        Time steps; a square number.
    states, channels : int
    slices : int
        32 with 8 channels is the second stage of a patch of 128 voxels. Forward and backward together is measured on an eighth of
        them, because the loop's backward pass fills a tensor of all steps at each step.
    repeats : int
        The median of so many runs counts.

    Returns
    -------
    dict
        JSON-ready: seconds, times faster than the loop, states per second, and multiples of the floor.
    """
    edge = round(length**0.5)
    size, small = (slices, edge, edge), (max(1, slices // 8), edge, edge)
    inputs, fewer = (scan_inputs(s[0] * edge * edge, channels, states) for s in (size, small))
    ways: dict[str, tuple[Scan, str | None]] = {"loop": (loop_scan, None)}
    ways |= {name: (cross_scan, name) for name in ("blocked", "numba") if backends()[name].startswith("ready")}
    forward = yield from side_by_side({name: _task(*way, inputs, size, False) for name, way in ways.items()}, repeats)
    both = yield from side_by_side({name: _task(*way, fewer, small, True) for name, way in ways.items()}, repeats)
    count = slices * edge * edge * 4 * channels * states
    floor = max(2 * inputs[0].nbytes / copy_bandwidth(), OPERATIONS * count / peak_flops())
    rows = [
        {
            "backend": name,
            "forward_s": forward[name],
            "forward_times_faster": forward["loop"] / forward[name],
            "forward_times_the_floor": forward[name] / floor,
            "forward_gigastates_per_s": count / forward[name] / 1e9,
            "both_s": both[name],
            "both_times_faster": both["loop"] / both[name],
        }
        for name in ways
    ]
    shape = {"length": edge * edge, "states": states, "channels": channels, "slices": slices, "slices_both": small[0], "routes": 4}
    return {"machine": machine(), "shape": shape, "floor_s": floor, "repeats": repeats, "rows": rows}


def _task(scan: Scan, force: str | None, inputs: list[Tensor], size: tuple[int, int, int], gradients: bool) -> Callable[[], object]:
    u, project, project_dt, a, skip, bias = leaves = [t.clone().requires_grad_(gradients) for t in inputs]

    def task() -> object:
        before = force_backend(force)
        try:
            y = scan(u, project, project_dt, a, skip, bias, size)
            return torch.autograd.grad(y.sum(), leaves) if gradients else y
        finally:
            force_backend(before)

    return task
