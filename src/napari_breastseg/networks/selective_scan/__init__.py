"""The selective scan (Mamba, S6) over the slices of a volume along one or four routes, with the back end chosen per device.

One operator, ``napari_breastseg::cross_scan``, one dispatch table: ``torch.compile`` and export see a single node.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from napari_breastseg.errors import ComputeError
from napari_breastseg.networks.selective_scan import cuda
from napari_breastseg.networks.selective_scan.reference import visiting_order

HOMES = {"triton": "triton", "mamba-ssm": "cuda", "numba": "cpu", "blocked": "blocked"}
"""Module of each back end; on each device the first that can run is chosen."""

_forced: str | None = None


@cache
def backends() -> dict[str, str]:
    """Return each back end with why it can, or cannot, run here."""
    gpu = torch.cuda.is_available()
    states = {
        "triton": _triton_state() if gpu else "not available: no NVIDIA GPU here",
        "mamba-ssm": cuda.available() if gpu else "not available: no NVIDIA GPU here",
        "numba": "ready (float32 on the CPU)" if importlib.util.find_spec("numba") else "not available: install numba",
        "blocked": "ready (pure torch, every device)",
    }
    return {name: states[name] for name in HOMES}


def _triton_state() -> str:
    if importlib.util.find_spec("triton") is None:
        return "not available: install triton, which comes with torch for CUDA on Linux"
    try:
        found: str = importlib.import_module("triton").__version__  # whatever its distribution is called
    except (ImportError, OSError) as error:
        return f"not available: triton cannot be imported ({error})"
    fits = tuple(int(part) for part in found.split(".")[:2]) >= (3, 3)
    return "ready (float32 on the GPU)" if fits else f"not available: triton {found} is too old, 3.3 or newer is needed"


def force_backend(name: str | None) -> str | None:
    """Use back end `name` wherever it can run from now on, None to choose again by itself; return what was forced before.

    Raises
    ------
    ComputeError
        If no such back end exists or it cannot run on this machine.
    """
    global _forced
    known = backends()
    if name is not None and (name not in known or not known[name].startswith("ready")):
        ready = ", ".join(each for each, state in known.items() if state.startswith("ready"))
        raise ComputeError(f"The scan back end {name!r} cannot run here. Choose one of: {ready}.")
    before, _forced = _forced, name
    return before


def chosen_backend(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the back end that runs for tensors of `dtype` on `device`."""
    fitting = {("cuda", torch.float32): ["triton", "mamba-ssm"], ("cpu", torch.float32): ["numba"]}.get((device.type, dtype), [])
    ready = [name for name in [*fitting, "blocked"] if backends()[name].startswith("ready")]
    return _forced if _forced in ready else ready[0]


def _backend(tensor: Tensor) -> ModuleType:
    home = HOMES[chosen_backend(tensor.device, tensor.dtype)]
    return importlib.import_module(f"napari_breastseg.networks.selective_scan.{home}")


@lru_cache(maxsize=64)
def _order(routes: int, size: tuple[int, ...], axis: int, device: torch.device) -> Tensor:
    return visiting_order(routes, size, axis).to(device)


def _projections(u: Tensor, project: Tensor, project_dt: Tensor, states: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return low-rank and full step size (before bias and softplus), input and output vectors, of each voxel and route."""
    projected = (u @ project.flatten(0, 1).T).unflatten(-1, project.shape[:2])
    low, b, c = projected.split([project.shape[1] - 2 * states, states, states], dim=-1)
    return low, torch.einsum("bvkr,kcr->bvkc", low, project_dt), b, c


# torch.library.custom_op would say the same in fewer words, but imports all of torch's compiler, seconds of it, at the first call.
_WEIGHTS = "Tensor project, Tensor project_dt, Tensor a, Tensor skip, Tensor bias"
torch.library.define("napari_breastseg::cross_scan", f"(Tensor u, {_WEIGHTS}, int[] size, int axis) -> Tensor")
torch.library.define(
    "napari_breastseg::cross_scan_backward",
    f"(Tensor grad, Tensor u, {_WEIGHTS}, int[] size, int axis) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.impl("napari_breastseg::cross_scan", "default")
def _cross_scan(
    u: Tensor, project: Tensor, project_dt: Tensor, a: Tensor, skip: Tensor, bias: Tensor, size: Sequence[int], axis: int
) -> Tensor:
    u = u.contiguous()  # so is what is returned, as the registered shapes say
    order, backend = _order(a.shape[0], tuple(size), axis, u.device), _backend(u)
    if hasattr(backend, "project_and_scan"):
        y: Tensor = backend.project_and_scan(u, project, project_dt, a, skip, bias, order)
    else:
        _, delta, b, c = _projections(u, project, project_dt, a.shape[2])
        y = backend.forward(u, delta, a, b, c, skip, bias, order)
    return y


def _shape_only(u: Tensor, *_: Any) -> Tensor:
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


@torch.library.impl("napari_breastseg::cross_scan_backward", "default")
def _cross_scan_backward(
    grad: Tensor, u: Tensor, project: Tensor, project_dt: Tensor, a: Tensor, skip: Tensor, bias: Tensor, size: Sequence[int], axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    low, delta, b, c = _projections(u, project, project_dt, a.shape[2])
    order = _order(a.shape[0], tuple(size), axis, u.device)
    du, ddelta, da, db, dc, dskip, dbias = _backend(u).backward(grad.contiguous(), u, delta, a, b, c, skip, bias, order)
    dprojected = torch.cat([torch.einsum("bvkc,kcr->bvkr", ddelta, project_dt), db, dc], -1)
    dproject = torch.einsum("bvkr,bvc->krc", dprojected, u)
    dproject_dt = torch.einsum("bvkc,bvkr->kcr", ddelta, low)
    du = du + dprojected.flatten(2) @ project.flatten(0, 1)
    # Contiguous, as the registered shapes say.
    return du.contiguous(), dproject.contiguous(), dproject_dt.contiguous(), da.contiguous(), dskip.contiguous(), dbias.contiguous()


def _shapes_only(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(_shape_only(t) for t in inputs[:-2])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-2])
    ctx.place = inputs[-2:]


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    backward = torch.ops.napari_breastseg.cross_scan_backward.default
    return (*backward(grad, *ctx.saved_tensors, *ctx.place), None, None)


torch.library.register_fake("napari_breastseg::cross_scan", _shape_only)
torch.library.register_fake("napari_breastseg::cross_scan_backward", _shapes_only)
torch.library.register_autograd("napari_breastseg::cross_scan", _gradients, setup_context=_setup)


def cross_scan(
    u: Tensor, project: Tensor, project_dt: Tensor, a: Tensor, skip: Tensor, bias: Tensor, size: Sequence[int], axis: int = 0
) -> Tensor:
    """Scan the slices of a volume along each route and sum the routes (SS2D of VMamba, steps 3 to 6 without its norm).

    Each voxel's features give, for each route, ``[d, b, c] = project u`` and ``delta = project_dt d``; then every slice is scanned as
    :func:`napari_breastseg.networks.selective_scan.reference.scan` says. Only the tokens are read and written: no route is ever copied out.

    Parameters
    ----------
    u : Tensor, shape (batch, voxel, channel)
        Voxels of a volume of `size` in storage order.
    project : Tensor, shape (route, rank + 2 states, channel)
    project_dt : Tensor, shape (route, channel, rank)
    a : Tensor, shape (route, channel, state)
        Negative; routes are 1 (row-major) or 4 (row-major, column-major, and their reverses).
    skip, bias : Tensor, shape (route, channel)
    size : sequence of int
        (D, H, W).
    axis : int
        The slices lie across this axis.

    Returns
    -------
    Tensor, shape (batch, voxel, channel)
    """
    result: Tensor = torch.ops.napari_breastseg.cross_scan.default(u, project, project_dt, a, skip, bias, list(size), axis)
    return result
