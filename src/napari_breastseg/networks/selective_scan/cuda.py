"""The compiled scan of mamba-ssm (Gu and Dao 2023) for NVIDIA GPUs: an adapter from our layout to the kernel's.

The kernel wants every route written out as rows (row, channel, position): slices become rows, routes its groups. Its backward pass adds
up with atomics, so gradients differ in the last digits from run to run.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

CHUNK = 2048
"""Positions that the kernel scans at once; the backward pass of a longer walk needs the states between them."""


def available() -> str:
    """Return ``"ready"``, or why the kernel cannot be used and what to do.

    The kernel itself is asked for, not mamba-ssm: since mid 2026 that installs and imports without it.
    """
    if importlib.util.find_spec("mamba_ssm") is None:
        return "not available: install mamba-ssm with MAMBA_KEEP_CUDA_BUILD=TRUE"
    if importlib.util.find_spec("selective_scan_cuda") is None:
        return "mamba-ssm is installed, but without its compiled kernel: reinstall it with MAMBA_KEEP_CUDA_BUILD=TRUE"
    try:
        _kernel()
    except (ImportError, OSError):
        return (
            "mamba-ssm is installed, but its compiled kernel does not fit this version of torch: "
            "reinstall it with MAMBA_KEEP_CUDA_BUILD=TRUE and MAMBA_FORCE_BUILD=TRUE"
        )
    return "ready"


def _kernel() -> ModuleType:
    return importlib.import_module("selective_scan_cuda")


class _Rows:
    """Where each walk stands in the volume: takes values per voxel apart into rows, and puts rows together again."""

    def __init__(self, order: Tensor, device: torch.device) -> None:
        self.order = order.to(device)
        self.routes = torch.arange(order.shape[1], device=device)[:, None]

    def take(self, t: Tensor) -> Tensor:
        """Turn (batch, voxel, route, x) into (batch x slice, route, x, position)."""
        return t[:, self.order, self.routes].movedim(3, 4).flatten(0, 1).contiguous()

    def put(self, rows: Tensor, like: Tensor) -> Tensor:
        """Turn rows back into the shape of `like`, (batch, voxel, route, x)."""
        batch, voxels, routes, width = like.shape
        t = rows.new_empty(batch, voxels, routes, width)
        t[:, self.order, self.routes] = rows.view(batch, -1, routes, width, rows.shape[-1]).movedim(4, 3)
        return t


def _arguments(rows: _Rows, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor) -> list[Any]:
    """Return the kernel's (u, delta, A, B, C, D, z, delta_bias); in u and delta, (row, route x channel, position), a route is a group."""
    each = rows.take(u[:, :, None].expand_as(delta))
    return [
        each.flatten(1, 2), rows.take(delta).flatten(1, 2), a.flatten(0, 1).contiguous(), rows.take(b), rows.take(c),
        skip.flatten().contiguous(), None, bias.flatten().contiguous(),
    ]  # fmt: skip


def forward(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor) -> Tensor:
    """Return y, shape (batch, voxel, channel), float32; see :func:`napari_breastseg.networks.selective_scan.reference.scan`."""
    rows = _Rows(order, u.device)
    y, *_ = _kernel().fwd(*_arguments(rows, u, delta, a, b, c, skip, bias), True)
    return rows.put(y, delta).sum(2)


def backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of u, delta, a, b, c, skip and bias."""
    rows, kernel = _Rows(order, u.device), _kernel()
    arguments = _arguments(rows, u, delta, a, b, c, skip, bias)
    states = kernel.fwd(*arguments, True)[1] if order.shape[2] > CHUNK else None
    dy = rows.take(grad[:, :, None].expand_as(delta)).flatten(1, 2)
    # Behind dy: states between chunks, y and dz (both for z alone), softplus on, nothing to recompute.
    du, ddelta, da, db, dc, dskip, dbias, *_ = kernel.bwd(*arguments, dy, states, None, None, True, False)
    return (
        rows.put(du, delta).sum(2),
        rows.put(ddelta, delta),
        da.view_as(a),
        rows.put(db, b),
        rows.put(dc, c),
        dskip.view_as(skip),
        dbias.view_as(bias),
    )
