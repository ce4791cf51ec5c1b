"""The oracle: the recurrence written as it stands in the papers, one time step after another, in any float type."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def walks(routes: int, height: int, width: int) -> Tensor:
    """Order in which each route visits the positions of a ``height x width`` slice.

    Returns
    -------
    Tensor, shape (routes, height * width), int64
        Route 1 is row-major, 2 column-major, 3 and 4 the reverse of 1 and 2 (SS2D of VMamba); ``routes`` is 1 or 4.
    """
    rows = torch.arange(height * width)
    if routes == 1:
        return rows[None]
    columns = rows.view(height, width).T.reshape(-1)
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])


def cross_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int) -> Tensor:
    """Selective scan along every route, summed over the routes; see :func:`napari_breastseg.networks.selective_scan.cross_scan`."""
    batch, length, channels = u.shape
    y = torch.zeros_like(u)
    for k, walk in enumerate(walks(a.shape[0], height, length // height)):
        h = u.new_zeros(batch, channels, a.shape[2])
        for p in walk.tolist():
            dt = softplus(delta[:, p, k] + bias[k])
            h = torch.exp(dt[..., None] * a[k]) * h + (dt * u[:, p])[..., None] * b[:, p, k, None, :]
            step = (h * c[:, p, k, None, :]).sum(-1) + skip[k] * u[:, p]
            y = y.index_add(1, torch.tensor([p], device=u.device), step[:, None])
    return y
