"""The selective scan (Mamba, S6) over 2-D slices along one or four routes, with the back end chosen per device.

One operator, ``napari_breastseg::cross_scan``, one dispatch table: ``torch.compile`` and export see a single node.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from napari_breastseg.errors import ComputeError
from napari_breastseg.networks.selective_scan import blocked

_forced: str | None = None


def backends() -> dict[str, str]:
    """Return each back end with why it can, or cannot, run here."""
    numba = "ready" if importlib.util.find_spec("numba") else "not available: install numba"
    return {"numba": f"{numba} (float32 on the CPU)", "blocked": "ready (pure torch, every device)"}


def force_backend(name: str | None) -> None:
    """Use back end `name` everywhere from now on; None chooses again by itself.

    Raises
    ------
    ComputeError
        If no such back end exists or it cannot run on this machine.
    """
    global _forced
    known = backends()
    if name is not None and (name not in known or not known[name].startswith("ready")):
        raise ComputeError(f"The scan back end {name!r} cannot run here. Choose one of: {', '.join(known)}.")
    _forced = name


def chosen_backend(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the back end that runs for tensors of `dtype` on `device`."""
    fits_numba = device.type == "cpu" and dtype == torch.float32 and backends()["numba"].startswith("ready")
    if _forced == "blocked" or not fits_numba:
        return "blocked"
    return "numba"


def _backend(u: Tensor) -> ModuleType:
    if chosen_backend(u.device, u.dtype) == "numba":
        from napari_breastseg.networks.selective_scan import cpu

        return cpu
    return blocked


@torch.library.custom_op("napari_breastseg::cross_scan", mutates_args=())
def _cross_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int) -> Tensor:
    result: Tensor = _backend(u).forward(u, delta, a, b, c, skip, bias, height)
    return result


@_cross_scan.register_fake
def _(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int) -> Tensor:
    return torch.empty_like(u)


@torch.library.custom_op("napari_breastseg::cross_scan_backward", mutates_args=())
def _cross_scan_backward(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    gradients: tuple[Any, Any, Any, Any, Any, Any, Any] = _backend(u).backward(grad, u, delta, a, b, c, skip, bias, height)
    return gradients


@_cross_scan_backward.register_fake
def _(
    grad: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t) for t in (u, delta, a, b, c, skip, bias))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.height = inputs[-1]


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_cross_scan_backward(grad.contiguous(), *ctx.saved_tensors, ctx.height), None)


_cross_scan.register_autograd(_gradients, setup_context=_setup)


def cross_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor, height: int) -> Tensor:
    """Scan every slice along each route and sum the routes.

    For route k, walking the positions t of a slice: ``dt = softplus(delta + bias)``, ``h_t = exp(dt a) h_(t-1) + dt u_t b_t``,
    ``y_t = <h_t, c_t> + skip u_t``, with ``h_0 = 0`` (Gu and Dao 2023, eq. 2; SS2D of VMamba for the routes).

    Parameters
    ----------
    u : Tensor, shape (batch, position, channel)
        Positions in row-major order of a ``height x width`` slice.
    delta : Tensor, shape (batch, position, route, channel)
    a : Tensor, shape (route, channel, state)
        Negative; routes are 1 (row-major) or 4 (row-major, column-major, and their reverses).
    b, c : Tensor, shape (batch, position, route, state)
    skip, bias : Tensor, shape (route, channel)
    height : int
        Rows of the slice; must divide the number of positions.

    Returns
    -------
    Tensor, shape (batch, position, channel)
    """
    result: Tensor = _cross_scan(u, delta, a, b, c, skip, bias, height)
    return result
