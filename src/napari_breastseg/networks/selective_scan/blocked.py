"""Pure-torch scan in time-major blocks: runs on every device and in every float type; the fallback everywhere.

Only one block of states exists at a time. The backward pass keeps the state at the start of each block and recomputes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import softplus

BLOCK = 32


def _blocks(length: int) -> Iterator[slice]:
    return (slice(t, min(t + BLOCK, length)) for t in range(0, length, BLOCK))


class _Block:
    """The inputs of one block of steps, time-major: (time, batch, slice, route, channel[, state]); `p` is (time, slice, route)."""

    def __init__(self, p: Tensor, k: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, bias: Tensor) -> None:
        self.u = u[:, p].transpose(0, 1)
        self.raw = delta[:, p, k].transpose(0, 1) + bias
        self.dt = softplus(self.raw)
        self.b = b[:, p, k].transpose(0, 1)
        self.c = c[:, p, k].transpose(0, 1)
        self.decay = torch.exp(self.dt[..., None] * a)

    def states(self, h: Tensor) -> Tensor:
        """States after each step, starting from `h`."""
        drive = (self.dt * self.u)[..., None] * self.b[..., None, :]
        for t in range(drive.shape[0]):
            h = torch.addcmul(drive[t], self.decay[t], h)
            drive[t] = h
        return drive


def forward(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor) -> Tensor:
    """Return y, shape (batch, voxel, channel); see :func:`napari_breastseg.networks.selective_scan.reference.scan`."""
    walk, k = _time_major(order, u)
    y = u * skip.sum(0)
    h = u.new_zeros(u.shape[0], order.shape[0], *a.shape)
    for part in _blocks(order.shape[2]):
        block = _Block(walk[part], k, u, delta, a, b, c, bias)
        states = block.states(h)
        h = states[-1].clone()
        out = (states @ block.c[..., None]).squeeze(-1).transpose(0, 1)
        for route in range(a.shape[0]):
            y.index_add_(1, walk[part, :, route].flatten(), out[:, :, :, route].flatten(1, 2))
    return y


def backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of u, delta, a, b, c, skip and bias."""
    walk, k = _time_major(order, u)
    starts = [u.new_zeros(u.shape[0], order.shape[0], *a.shape)]
    parts = list(_blocks(order.shape[2]))
    for part in parts[:-1]:
        starts.append(_Block(walk[part], k, u, delta, a, b, c, bias).states(starts[-1])[-1].clone())
    du, ddelta, db, dc = grad * skip.sum(0), torch.zeros_like(delta), torch.zeros_like(b), torch.zeros_like(c)
    da = torch.zeros_like(a)
    later = torch.zeros_like(starts[0])
    for part, start in zip(reversed(parts), reversed(starts), strict=True):
        p = walk[part]
        block = _Block(p, k, u, delta, a, b, c, bias)
        states = block.states(start)
        dy = grad[:, p].transpose(0, 1)
        dc[:, p, k] = (states * dy[..., None]).sum(-2).transpose(0, 1)
        dh = dy[..., None] * block.c[..., None, :]
        for t in range(dh.shape[0] - 1, -1, -1):
            dh[t] += later
            later = block.decay[t] * dh[t]
        before = torch.cat([start[None], states[:-1]])
        dexponent = dh * before * block.decay
        da += (dexponent * block.dt[..., None]).sum((0, 1, 2))
        ddrive = (dh @ block.b[..., None]).squeeze(-1)
        db[:, p, k] = (dh * (block.dt * block.u)[..., None]).sum(-2).transpose(0, 1)
        ddt = (dexponent * a).sum(-1) + ddrive * block.u
        ddelta[:, p, k] = (ddt * torch.sigmoid(block.raw)).transpose(0, 1)
        dx = (ddrive * block.dt).transpose(0, 1)
        for route in range(a.shape[0]):
            du.index_add_(1, p[:, :, route].flatten(), dx[:, :, :, route].flatten(1, 2))
    return du, ddelta, da, db, dc, (grad * u).sum((0, 1)).expand_as(skip).clone(), ddelta.sum((0, 1))


def _time_major(order: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the walk, shape (time, slice, route), and the route of each of its columns."""
    return order.to(u.device).permute(2, 0, 1).contiguous(), torch.arange(order.shape[1], device=u.device)
