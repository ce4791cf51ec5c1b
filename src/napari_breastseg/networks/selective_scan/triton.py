"""Triton scan for the GPU: one warp per slice, route and block of channels, in step with time, the routes folded into the index walk.

A warp holds the states of its channels in registers, four to a lane, so that the sum over states of four channels takes three exchanges
between lanes. The walk is bound by the latency of memory: a round first asks for the inputs of all its steps, then takes the steps.
Nothing of size (voxel x channel x state) is stored: the backward pass keeps the state before each round and recomputes the rest.

The same input gives the same bits at every run: routes and blocks of channels write apart and torch adds them up, since the order of
atomic additions changes from run to run. The price is small: y is far smaller than b and c, and the large volumes have few channels.

Softplus and the skip are left to torch: in the kernel, every lane of a channel would repeat them.
"""

# The kernels are in Triton's language, which only looks like typed Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, assignment"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import softplus

TILE = 128
"""States that a warp holds. With 32 states a channel that makes blocks of 4 channels, with 128 or more of 1."""


@triton.jit
def _place(order, a, length, slices, channels, states: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr):
    """Where this program works: batch, route, walk, channels and states, and a in powers of two."""
    row, route = tl.program_id(2), tl.program_id(1)
    walk = order + ((row % slices) * tl.num_programs(1) + route).to(tl.int64) * length
    j = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    # The states fill the whole tile: then every load agrees on which lane holds what, and nothing moves between lanes but sums.
    n = tl.arange(0, STATES)[:, None] + tl.zeros_like(j)
    a2 = tl.load(a + (route * channels + j) * states + n, mask=(j < channels) & (n < states), other=0.0) * 1.4426950408889634
    return (row // slices).to(tl.int64), route, walk, j, n, a2


@triton.jit
def _positions(walk, first, length, STEPS: tl.constexpr):
    """Voxels of the steps of a round; steps beyond the end stand at voxel 0 and must not be written."""
    ats = ()
    for i in tl.static_range(STEPS):
        # By way of int32, so that the product with a stride is one instruction.
        ats = ats + (tl.load(walk + first + i, mask=first + i < length, other=0).to(tl.int32).to(tl.int64),)
    return ats


@triton.jit
def _values(p, ats, stride, mask, STEPS: tl.constexpr):
    """What stands at the voxels of a round."""
    values = ()
    for i in tl.static_range(STEPS):
        values = values + (tl.load(p + ats[i] * stride, mask=mask, other=0.0),)
    return values


@triton.jit
def _forward(
    order, u, dt, a, b, c, y,
    length, slices, voxels, channels, u_batch, u_voxel, b_batch, b_voxel, b_route, c_batch, c_voxel, c_route,
    states: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    batch, route, walk, j, n, a2 = _place(order, a, length, slices, channels, states, STATES, CHANNELS)
    line = tl.num_programs(1) * channels
    own = batch * voxels * line + route * channels + j
    steps = tl.arange(0, STEPS)[:, None]
    h = tl.zeros((STATES, CHANNELS), tl.float32)
    for first in range(0, length, STEPS):
        ats = _positions(walk, first, length, STEPS)
        us = _values(u + batch * u_batch + j, ats, u_voxel, j < channels, STEPS)
        dts = _values(dt + own, ats, line, j < channels, STEPS)
        bs = _values(b + batch * b_batch + route * b_route + n, ats, b_voxel, n < states, STEPS)
        cs = _values(c + batch * c_batch + route * c_route + n, ats, c_voxel, n < states, STEPS)
        out = tl.zeros((STEPS, CHANNELS), tl.float32)
        for i in tl.static_range(STEPS):
            h = tl.exp2(dts[i] * a2) * h + dts[i] * us[i] * bs[i]
            out = tl.where(steps == i, tl.sum(h * cs[i], axis=0, keep_dims=True), out)
        inside = first + steps < length
        at = tl.load(walk + first + steps, mask=inside, other=0)
        tl.store(y + own + at * line, out, mask=inside & (j < channels))


@triton.jit
def _keep_starts(
    starts, walk, u, dt, b, a2, length, line, u_voxel, b_voxel, j_in, n_in,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Walk once, writing down the state before each round."""
    h = tl.zeros((STATES, CHANNELS), tl.float32)
    for first in range(0, length, STEPS):
        tl.store(starts + first // STEPS * (STATES * CHANNELS), h)
        ats = _positions(walk, first, length, STEPS)
        us = _values(u, ats, u_voxel, j_in, STEPS)
        dts = _values(dt, ats, line, j_in, STEPS)
        bs = _values(b, ats, b_voxel, n_in, STEPS)
        for i in tl.static_range(STEPS):
            h = tl.exp2(dts[i] * a2) * h + dts[i] * us[i] * bs[i]
    tl.debug_barrier()  # a lane may read what another has written


@triton.jit
def _backward(
    order, grad, u, dt, a, b, c, du, ddt, da, db, dc, starts,
    length, slices, voxels, channels, grad_batch, grad_voxel, u_batch, u_voxel, b_batch, b_voxel, b_route, c_batch, c_voxel, c_route,
    states: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    batch, route, walk, j, n, a2 = _place(order, a, length, slices, channels, states, STATES, CHANNELS)
    row, routes, blocks, rounds = tl.program_id(2).to(tl.int64), tl.num_programs(1), tl.num_programs(0), tl.cdiv(length, STEPS)
    j_in, n_in, line = j < channels, n < states, routes * channels
    own = batch * voxels * line + route * channels + j
    part = ((batch * voxels * routes + route) * blocks + tl.program_id(0)) * states + n
    writer = j == tl.program_id(0) * CHANNELS  # of the lanes that hold the same sum over channels, one writes
    u += batch * u_batch + j
    b += batch * b_batch + route * b_route + n
    starts += (((row * routes + route) * blocks + tl.program_id(0)) * rounds * CHANNELS + j % CHANNELS) * STATES + n
    _keep_starts(starts, walk, u, dt + own, b, a2, length, line, u_voxel, b_voxel, j_in, n_in, STATES, CHANNELS, STEPS)

    steps = tl.arange(0, STEPS)[:, None]
    later = tl.zeros((STATES, CHANNELS), tl.float32)
    da_sum = tl.zeros((STATES, CHANNELS), tl.float32)
    for back in range(rounds):
        r = rounds - 1 - back
        first = r * STEPS
        ats = _positions(walk, first, length, STEPS)
        us = _values(u, ats, u_voxel, j_in, STEPS)
        dts = _values(dt + own, ats, line, j_in, STEPS)
        bs = _values(b, ats, b_voxel, n_in, STEPS)
        cs = _values(c + batch * c_batch + route * c_route + n, ats, c_voxel, n_in, STEPS)
        gs, hs, decays = (), (tl.load(starts + r * (STATES * CHANNELS)),), ()
        for i in tl.static_range(STEPS):
            # No gradient comes from beyond the end: these steps, the first in reverse, change nothing.
            live = j < tl.where(first + i < length, channels, 0)
            gs = gs + (tl.load(grad + batch * grad_batch + j + ats[i] * grad_voxel, mask=live, other=0.0),)
        for i in tl.static_range(STEPS):
            decays = decays + (tl.exp2(dts[i] * a2),)
            hs = hs + (decays[i] * hs[i] + dts[i] * us[i] * bs[i],)
        du_round = tl.zeros((STEPS, CHANNELS), tl.float32)
        ddt_round = tl.zeros((STEPS, CHANNELS), tl.float32)
        for i in tl.static_range(STEPS - 1, -1, -1):
            dh = gs[i] * cs[i] + later
            later = dh * decays[i]
            dexponent = later * hs[i]
            da_sum += dexponent * dts[i]
            ddrive = tl.sum(dh * bs[i], axis=0, keep_dims=True)
            ddt_step = tl.sum(dexponent * a2, axis=0, keep_dims=True) * 0.6931471805599453 + ddrive * us[i]
            du_round = tl.where(steps == i, ddrive * dts[i], du_round)
            ddt_round = tl.where(steps == i, ddt_step, ddt_round)
            mask = writer & (n < tl.where(first + i < length, states, 0))
            at = part + ats[i] * (routes * blocks * states)
            tl.store(db + at, tl.sum(dh * (dts[i] * us[i]), axis=1, keep_dims=True), mask=mask)
            tl.store(dc + at, tl.sum(gs[i] * hs[i + 1], axis=1, keep_dims=True), mask=mask)
        inside = first + steps < length
        at = tl.load(walk + first + steps, mask=inside, other=0)
        tl.store(du + own + at * line, du_round, mask=inside & j_in)
        tl.store(ddt + own + at * line, ddt_round, mask=inside & j_in)
    tl.store(da + (row * line + route * channels + j) * states + n, da_sum, mask=j_in & n_in)


def _dense(t: Tensor) -> Tensor:
    """`t` with neighbouring numbers in the last axis; other strides may be anything, so slices of a larger tensor pass uncopied."""
    return t if t.stride(-1) == 1 else t.contiguous()


def _tiles(u: Tensor, a: Tensor, order: Tensor, steps: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Return the grid (block of channels, route, batch x slice) and the compile-time sizes for rounds of `steps` steps."""
    routes, channels, states = a.shape
    padded: int = triton.next_power_of_2(states)
    block: int = min(triton.next_power_of_2(channels), max(1, TILE // padded))
    steps = max(1, steps * TILE // max(TILE, padded * block))
    grid = (triton.cdiv(channels, block), routes, u.shape[0] * order.shape[0])
    return grid, {"states": states, "STATES": padded, "CHANNELS": block, "STEPS": steps, "num_warps": 1, "enable_fp_fusion": True}


def forward(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor) -> Tensor:
    """Return y, shape (batch, voxel, channel), float32; see :func:`napari_breastseg.networks.selective_scan.reference.scan`."""
    walks, u, b, c = order.to(u.device).contiguous(), _dense(u), _dense(b), _dense(c)
    dt = softplus(delta + bias).contiguous()
    y = torch.empty_like(dt)
    grid, sizes = _tiles(u, a, order, 16)
    with torch.cuda.device_of(u):
        _forward[grid](
            walks, u, dt, a.contiguous(), b, c, y,
            order.shape[2], order.shape[0], u.shape[1], u.shape[2], *u.stride()[:2], *b.stride()[:3], *c.stride()[:3], **sizes,
        )  # fmt: skip
    return torch.addcmul(y.sum(2), u, skip.sum(0))


def backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of u, delta, a, b, c, skip and bias."""
    walks, grad, u, b, c = order.to(u.device).contiguous(), _dense(grad), _dense(u), _dense(b), _dense(c)
    raw = (delta + bias).contiguous()
    dt = softplus(raw)
    grid, sizes = _tiles(u, a, order, 8)
    blocks, routes, rows = grid
    du, ddt = torch.empty_like(dt), torch.empty_like(dt)
    db, dc = (u.new_empty(*t.shape[:3], blocks, t.shape[3]) for t in (b, c))
    da = u.new_empty(rows, *a.shape)
    starts = u.new_empty(rows, routes, blocks, triton.cdiv(order.shape[2], sizes["STEPS"]), sizes["STATES"] * sizes["CHANNELS"])
    with torch.cuda.device_of(u):
        _backward[grid](
            walks, grad, u, dt, a.contiguous(), b, c, du, ddt, da, db, dc, starts,
            order.shape[2], order.shape[0], u.shape[1], u.shape[2],
            *grad.stride()[:2], *u.stride()[:2], *b.stride()[:3], *c.stride()[:3], **sizes,
        )  # fmt: skip
    ddelta = ddt * torch.sigmoid(raw)
    return (
        torch.addcmul(du.sum(2), grad, skip.sum(0)),
        ddelta,
        da.sum(0),
        db.sum(3),
        dc.sum(3),
        (grad * u).sum((0, 1)).expand_as(skip).clone(),
        ddelta.sum((0, 1)),
    )
