"""The oracle: the recurrence written as it stands in the papers, one time step after another, in any float type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus


def visiting_order(routes: int, size: Sequence[int], axis: int) -> Tensor:
    """Order in which each route visits the voxels of each slice.

    Parameters
    ----------
    routes : int
        1: row-major. 4: row-major, column-major, and the reverse of both (SS2D of VMamba).
    size : sequence of int
        Voxels (D, H, W).
    axis : int
        Slices lie across this axis; their rows and columns are the other two axes, in order.

    Returns
    -------
    Tensor, shape (slice, route, position), int64
        Indices into the D * H * W voxels in storage order.
    """
    slices = torch.arange(size[0] * size[1] * size[2]).view(*size).movedim(axis, 0)
    rows, columns = slices.flatten(1), slices.transpose(1, 2).flatten(1)
    return torch.stack([rows] if routes == 1 else [rows, columns, rows.flip(1), columns.flip(1)], 1)


def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, order: Tensor) -> Tensor:
    """Scan every slice along each route and sum the routes; every back end's ``forward`` takes and returns the same.

    For route k, walking the voxels p of a slice in order: ``dt = softplus(delta + bias)``, ``h = exp(dt a) h + dt u b``,
    ``y += <h, c> + skip u``, with ``h = 0`` at the start of each slice (Gu and Dao 2023, eq. 2).

    Parameters
    ----------
    u : Tensor, shape (batch, voxel, channel)
    delta : Tensor, shape (batch, voxel, route, channel)
    a : Tensor, shape (route, channel, state)
        Negative.
    b, c : Tensor, shape (batch, voxel, route, state)
    skip, bias : Tensor, shape (route, channel)
    order : Tensor, shape (slice, route, position), int64
        See :func:`visiting_order`.

    Returns
    -------
    Tensor, shape (batch, voxel, channel)
    """
    y = torch.zeros_like(u)
    for routes in order.tolist():
        for k, walk in enumerate(routes):
            h = u.new_zeros(u.shape[0], *a.shape[1:])
            for p in walk:
                dt = softplus(delta[:, p, k] + bias[k])
                h = torch.exp(dt[..., None] * a[k]) * h + (dt * u[:, p])[..., None] * b[:, p, k, None, :]
                step = (h * c[:, p, k, None, :]).sum(-1) + skip[k] * u[:, p]
                y = y.index_add(1, torch.tensor([p], device=u.device), step[:, None])
    return y
