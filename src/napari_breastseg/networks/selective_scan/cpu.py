"""Numba scan for the CPU: one slice per thread, states as vector lanes, the routes folded into the index walk, hand-written backward.

Forward also folds in the projections that give step size, input and output vectors, so nothing larger than the tokens is ever stored. With
2 to 32 channels but 32 states in HCMA-UNet, the states fill the vector lanes better than the channels would. The backward pass keeps the
state of every 32nd step and recomputes between.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

# OpenMP is what torch uses; TBB, numba's first choice, complains of every fork as soon as another library has brought it along.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]

BLOCK = 32
_LOG2E = np.float32(1.4426950408889634)
_compiled: dict[str, Any] = {"parallel": True, "fastmath": True, "cache": True, "nogil": True, "error_model": "numpy"}
_lock = threading.Lock()


@numba.njit(fastmath=True, inline="always")
def _exp2(z):  # type: ignore[no-untyped-def]
    """2^z in float32 for z <= 0 in a form that vectorises: 2^floor times a polynomial of degree 6 (relative error 3e-9 on [0, 1))."""
    z = max(z, np.float32(-126.0))
    whole = np.floor(z)
    f = z - whole
    r = np.float32(2.1196480e-04)
    r = r * f + np.float32(1.2592646e-03)
    r = r * f + np.float32(9.6615108e-03)
    r = r * f + np.float32(5.5492361e-02)
    r = r * f + np.float32(2.4022774e-01)
    r = r * f + np.float32(6.9314716e-01)
    r = r * f + np.float32(1.0)
    return r * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(fastmath=True, inline="always")
def _softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + e^x) likewise: max(x, 0) + z p(z), z = e^-|x|, p of degree 10 fitted to log(1 + z) / z on [0, 1] (relative error 8e-10)."""
    z = _exp2(-abs(x) * _LOG2E)
    r = np.float32(0.0020376905)
    r = r * z - np.float32(0.013444831)
    r = r * z + np.float32(0.04155762)
    r = r * z - np.float32(0.08253533)
    r = r * z + np.float32(0.12425103)
    r = r * z - np.float32(0.1610863)
    r = r * z + np.float32(0.19891537)
    r = r * z - np.float32(0.24987392)
    r = r * z + np.float32(0.3333257)
    r = r * z - np.float32(0.49999982)
    r = r * z + np.float32(1.0)
    return max(x, np.float32(0)) + z * r


@cache
def _forward_kernel(states: int) -> Any:
    """Compile the forward pass for one number of states: a loop of known length becomes straight vector code."""

    @numba.njit(**_compiled)
    def forward(order, u, project, project_dt, a, skip, bias, y):  # type: ignore[no-untyped-def]
        batch, _, channels = u.shape
        slices, routes, length = order.shape
        rank, width = project_dt.shape[1], project.shape[2]
        for i in numba.prange(batch * slices):
            n, s = i // slices, i % slices
            h = np.empty((channels, states), np.float32)
            projected = np.empty((BLOCK, width), np.float32)
            dt = np.empty((BLOCK, channels), np.float32)
            flat = dt.reshape(BLOCK * channels)
            for k in range(routes):
                h[:] = 0
                for first in range(0, length, BLOCK):
                    steps = min(BLOCK, length - first)
                    for t in range(steps):
                        p = order[s, k, first + t]
                        projected[t] = 0
                        for j in range(channels):
                            v = u[n, p, j]
                            for w in range(width):
                                projected[t, w] += v * project[k, j, w]
                        dt[t] = bias[k]
                        for r in range(rank):
                            d = projected[t, r]
                            for j in range(channels):
                                dt[t, j] += d * project_dt[k, r, j]
                    for m in range(steps * channels):
                        flat[m] = _softplus(flat[m])
                    for t in range(steps):
                        p = order[s, k, first + t]
                        bt, ct = projected[t, rank : rank + states], projected[t, rank + states :]
                        for j in range(channels):
                            v, d = u[n, p, j], dt[t, j]
                            x = d * v
                            total = np.float32(0)
                            for m in range(states):
                                state = _exp2(d * a[k, j, m]) * h[j, m] + x * bt[m]
                                h[j, m] = state
                                total += state * ct[m]
                            y[n, p, j] += total + skip[k, j] * v

    return forward


# At module level: what a cached kernel closes over must be the same in every process, which a number is and a function is not.
@numba.njit(fastmath=True, inline="always")
def _advance(h, k, dt, x, a, bt, states):  # type: ignore[no-untyped-def]
    for j in range(h.shape[0]):
        d, v = dt[j], x[j]
        for m in range(states):
            h[j, m] = _exp2(d * a[k, j, m]) * h[j, m] + v * bt[m]


@numba.njit(fastmath=True, inline="always")
def _prepare(walk, first, last, n, k, u, delta, bias, dt, x):  # type: ignore[no-untyped-def]
    for t in range(first, last):
        p = walk[t]
        for j in range(u.shape[2]):
            dt[t - first, j] = delta[n, p, k, j] + bias[k, j]
    for t in range(last - first):
        p = walk[first + t]
        for j in range(u.shape[2]):
            dt[t, j] = _softplus(dt[t, j])
            x[t, j] = dt[t, j] * u[n, p, j]


@cache
def _backward_kernel(states: int) -> Any:
    """Compile the backward pass for one number of states."""

    @numba.njit(**_compiled)
    def backward(order, grad, u, delta, a, b, c, skip, bias, du, ddelta, da, db, dc):  # type: ignore[no-untyped-def]
        batch, _, channels = u.shape
        slices, routes, length = order.shape
        blocks = (length + BLOCK - 1) // BLOCK
        for i in numba.prange(batch * slices):
            n, s = i // slices, i % slices
            starts = np.empty((blocks, channels, states), np.float32)
            h = np.empty((BLOCK + 1, channels, states), np.float32)
            later = np.empty((channels, states), np.float32)
            running = np.empty((channels, states), np.float32)
            dt, x = np.empty((BLOCK, channels), np.float32), np.empty((BLOCK, channels), np.float32)
            for k in range(routes):
                walk = order[s, k]
                running[:] = 0
                for block in range(blocks):
                    first, last = block * BLOCK, min((block + 1) * BLOCK, length)
                    starts[block] = running
                    _prepare(walk, first, last, n, k, u, delta, bias, dt, x)
                    for t in range(last - first):
                        _advance(running, k, dt[t], x[t], a, b[n, walk[first + t], k], states)
                later[:] = 0
                for block in range(blocks - 1, -1, -1):
                    first, last = block * BLOCK, min((block + 1) * BLOCK, length)
                    _prepare(walk, first, last, n, k, u, delta, bias, dt, x)
                    h[0] = starts[block]
                    for t in range(last - first):
                        h[t + 1] = h[t]
                        _advance(h[t + 1], k, dt[t], x[t], a, b[n, walk[first + t], k], states)
                    for t in range(last - first - 1, -1, -1):
                        p = walk[first + t]
                        bt, ct, dbt, dct = b[n, p, k], c[n, p, k], db[n, p, k], dc[n, p, k]
                        for j in range(channels):
                            g, v, d, xj = grad[n, p, j], u[n, p, j], dt[t, j], x[t, j]
                            ddrive, dexponent = np.float32(0), np.float32(0)
                            for m in range(states):
                                decay = _exp2(d * a[k, j, m])
                                dh = later[j, m] + g * ct[m]
                                dct[m] += g * h[t + 1, j, m]
                                dbt[m] += dh * xj
                                ddrive += dh * bt[m]
                                e = dh * decay * h[t, j, m]
                                dexponent += e * a[k, j, m]
                                da[i, k, j, m] += e * d
                                later[j, m] = dh * decay
                            du[n, p, j] += ddrive * d + g * skip[k, j]
                            # The derivative of softplus, in the form that cancels neither for small nor for large steps.
                            raw = delta[n, p, k, j] + bias[k, j]
                            z = _exp2(-abs(raw) * _LOG2E)
                            slope = (np.float32(1) if raw >= 0 else z) / (np.float32(1) + z)
                            ddelta[n, p, k, j] = (dexponent / _LOG2E + ddrive * v) * slope

    return backward


def project_and_scan(u: Tensor, project: Tensor, project_dt: Tensor, a: Tensor, skip: Tensor, bias: Tensor, order: Tensor) -> Tensor:
    """Return y, shape (batch, voxel, channel), float32; see :func:`napari_breastseg.networks.selective_scan.cross_scan`."""
    y = np.zeros(tuple(u.shape), np.float32)
    tensors = (u, project.transpose(1, 2), project_dt.transpose(1, 2), a * float(_LOG2E), skip, bias)
    with _alone():
        _forward_kernel(a.shape[2])(order.numpy(), *map(_array, tensors), y)
    return torch.from_numpy(y)


def backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of u, delta, a, b, c, skip and bias; see :func:`napari_breastseg.networks.selective_scan.reference.scan`."""
    du, ddelta, db, dc = (np.zeros(tuple(t.shape), np.float32) for t in (u, delta, b, c))
    da = np.zeros((u.shape[0] * order.shape[0], *a.shape), np.float32)
    tensors = (grad, u, delta, a * float(_LOG2E), b, c, skip, bias)
    with _alone():
        _backward_kernel(a.shape[2])(order.numpy(), *map(_array, tensors), du, ddelta, da, db, dc)
    dskip = (grad * u).sum((0, 1)).expand_as(skip).clone()
    results = (du, ddelta, da.sum(0), db, dc)
    return *map(torch.from_numpy, results), dskip, torch.from_numpy(ddelta).sum((0, 1))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().to(torch.float32).contiguous().numpy()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one thread of Python scan at a time, on torch's number of threads: numba's workqueue layer ends a process in which two do."""
    with _lock:
        threads = torch.get_num_threads()
        numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)  # numba's OpenMP layer, when it starts, gives the calling thread all processors
        yield
