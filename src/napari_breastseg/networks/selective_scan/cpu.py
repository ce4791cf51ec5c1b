"""Numba scan for the CPU: one slice per thread, states as vector lanes, the routes folded into the index walk, hand-written backward.

Nothing of size (position x channel x state) is ever stored: the backward pass keeps the state of every 32nd step and recomputes between.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from napari_breastseg.networks.selective_scan.reference import walks

BLOCK = 32
_LOG2E = np.float32(1.4426950408889634)
_compiled: dict[str, Any] = {"parallel": True, "fastmath": True, "cache": True, "nogil": True, "error_model": "numpy"}


@numba.njit(fastmath=True, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """exp(x) in float32 for x <= 0 in a form that vectorises: 2^floor times a polynomial of degree 6 (relative error 3e-9 on [0, 1))."""
    z = max(x * _LOG2E, np.float32(-126.0))
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
    return max(x, np.float32(0)) + np.float32(np.log1p(np.exp(-abs(x))))


@numba.njit(fastmath=True, inline="always")
def _step(h, k, dt, x, a, bt):  # type: ignore[no-untyped-def]
    """Advance the state `h` (channel, state) by one position."""
    for c in range(h.shape[0]):
        dtc, xc = dt[c], x[c]
        for n in range(h.shape[1]):
            h[c, n] = _exp(dtc * a[k, c, n]) * h[c, n] + xc * bt[n]


@numba.njit(**_compiled)
def _forward(walk, u, delta, a, b, c, skip, bias, y):  # type: ignore[no-untyped-def]
    batch, length, channels = u.shape
    routes, _, states = a.shape
    for i in numba.prange(batch):
        h = np.zeros((channels, states), np.float32)
        for k in range(routes):
            h[:] = 0
            for t in range(length):
                p = walk[k, t]
                bt, ct = b[i, p, k], c[i, p, k]
                for j in range(channels):
                    v = u[i, p, j]
                    dt = _softplus(delta[i, p, k, j] + bias[k, j])
                    x = dt * v
                    total = np.float32(0)
                    for n in range(states):
                        s = _exp(dt * a[k, j, n]) * h[j, n] + x * bt[n]
                        h[j, n] = s
                        total += s * ct[n]
                    y[i, p, j] += total + skip[k, j] * v


@numba.njit(**_compiled)
def _backward(walk, grad, u, delta, a, b, c, skip, bias, du, ddelta, da, db, dc):  # type: ignore[no-untyped-def]
    batch, length, channels = u.shape
    routes, _, states = a.shape
    blocks = (length + BLOCK - 1) // BLOCK
    for i in numba.prange(batch):
        starts = np.zeros((blocks, channels, states), np.float32)
        h = np.zeros((BLOCK + 1, channels, states), np.float32)
        later = np.zeros((channels, states), np.float32)
        dt, x = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
        running = np.zeros((channels, states), np.float32)
        for k in range(routes):
            running[:] = 0
            for t in range(length):
                if t % BLOCK == 0:
                    starts[t // BLOCK] = running
                p = walk[k, t]
                for j in range(channels):
                    dt[j] = _softplus(delta[i, p, k, j] + bias[k, j])
                    x[j] = dt[j] * u[i, p, j]
                _step(running, k, dt, x, a, b[i, p, k])
            later[:] = 0
            for block in range(blocks - 1, -1, -1):
                first = block * BLOCK
                last = min(first + BLOCK, length)
                h[0] = starts[block]
                for t in range(first, last):
                    p = walk[k, t]
                    for j in range(channels):
                        dt[j] = _softplus(delta[i, p, k, j] + bias[k, j])
                        x[j] = dt[j] * u[i, p, j]
                    h[t - first + 1] = h[t - first]
                    _step(h[t - first + 1], k, dt, x, a, b[i, p, k])
                for t in range(last - 1, first - 1, -1):
                    p = walk[k, t]
                    bt, ct, dbt, dct = b[i, p, k], c[i, p, k], db[i, p, k], dc[i, p, k]
                    for j in range(channels):
                        g, v = grad[i, p, j], u[i, p, j]
                        raw = delta[i, p, k, j] + bias[k, j]
                        dtj = _softplus(raw)
                        xj = dtj * v
                        ddrive, dexponent = np.float32(0), np.float32(0)
                        for n in range(states):
                            decay = _exp(dtj * a[k, j, n])
                            dh = later[j, n] + g * ct[n]
                            dct[n] += g * h[t - first + 1, j, n]
                            dbt[n] += dh * xj
                            ddrive += dh * bt[n]
                            e = dh * decay * h[t - first, j, n]
                            dexponent += e * a[k, j, n]
                            da[i, k, j, n] += e * dtj
                            later[j, n] = dh * decay
                        du[i, p, j] += ddrive * dtj + g * skip[k, j]
                        ddelta[i, p, k, j] = (dexponent + ddrive * v) / (np.float32(1) + np.float32(np.exp(-raw)))


def _arrays(*tensors: Tensor) -> list[Any]:
    return [t.detach().to(torch.float32).contiguous().numpy() for t in tensors]


def _threads() -> None:
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]


def forward(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int) -> Tensor:
    """Return y, shape (batch, position, channel), float32."""
    _threads()
    walk = walks(a.shape[0], height, u.shape[1] // height).numpy()
    y = np.zeros(u.shape, np.float32)
    _forward(walk, *_arrays(u, delta, a, b, c, skip, bias), y)
    return torch.from_numpy(y)


def backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int
) -> tuple[Tensor, ...]:
    """Return the gradients of u, delta, a, b, c, skip and bias."""
    _threads()
    walk = walks(a.shape[0], height, u.shape[1] // height).numpy()
    du, ddelta, db, dc = (np.zeros(tuple(t.shape), np.float32) for t in (u, delta, b, c))
    da = np.zeros((u.shape[0], *a.shape), np.float32)
    _backward(walk, *_arrays(grad, u, delta, a, b, c, skip, bias), du, ddelta, da, db, dc)
    dskip = (grad * u).sum((0, 1)).expand_as(skip).clone()
    ddelta_t = torch.from_numpy(ddelta)
    return (
        torch.from_numpy(du),
        ddelta_t,
        torch.from_numpy(da).sum(0),
        torch.from_numpy(db),
        torch.from_numpy(dc),
        dskip,
        ddelta_t.sum((0, 1)),
    )
