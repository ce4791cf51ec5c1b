"""The adapter to mamba-ssm's kernel, on a stand-in that has the kernel's signature, checks and results."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from napari_breastseg.networks.selective_scan import cuda, reference

NAMES = ("y", "u", "delta", "a", "b", "c", "skip", "bias")


def kernel_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, delta_bias: Tensor) -> Tensor:
    """The scan in the kernel's layout: u and delta (row, channel, position), b and c (row, group, state, position)."""
    dt = softplus(delta + delta_bias[:, None])
    share = a.shape[0] // b.shape[1]
    b, c = b.repeat_interleave(share, 1), c.repeat_interleave(share, 1)
    h = u.new_zeros(u.shape[0], *a.shape)
    y = []
    for t in range(u.shape[2]):
        h = torch.exp(dt[:, :, t, None] * a) * h + (dt * u)[:, :, t, None] * b[..., t]
        y.append((h * c[..., t]).sum(-1))
    return torch.stack(y, -1) + d[:, None] * u


class StandIn(ModuleType):
    """selective_scan_cuda as of mamba-ssm 2.3: what fwd and bwd take, demand and return (csrc/selective_scan/selective_scan.cpp)."""

    def __init__(self) -> None:
        super().__init__("selective_scan_cuda")
        self.__spec__ = ModuleSpec("selective_scan_cuda", None)
        self.calls: list[str] = []

    def _check(self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, delta_bias: Tensor) -> None:
        rows, channels, length = u.shape
        assert all(t.dtype == torch.float32 for t in (u, delta, a, b, c, d, delta_bias))
        assert all(t.stride(-1) == 1 or t.shape[-1] == 1 for t in (u, delta, b, c, d, delta_bias))
        assert delta.shape == u.shape and a.shape[0] == channels and d.shape == delta_bias.shape == (channels,)
        assert b.shape == c.shape == (rows, b.shape[1], a.shape[1], length) and channels % b.shape[1] == 0

    def fwd(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: None, delta_bias: Tensor, delta_softplus: bool, /
    ) -> list[Tensor]:
        self._check(u, delta, a, b, c, d, delta_bias)
        assert z is None and delta_softplus
        self.calls.append("fwd")
        y = kernel_scan(*(t.double() for t in (u, delta, a, b, c, d, delta_bias)))
        return [y.float(), torch.zeros(*u.shape[:2], -(-u.shape[2] // 2048), 2 * a.shape[1])]

    def bwd(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: None, delta_bias: Tensor, dout: Tensor,
        x: Tensor | None, out: None, dz: None, delta_softplus: bool, recompute_out_z: bool, /,
    ) -> list[Tensor]:  # fmt: skip
        self._check(u, delta, a, b, c, d, delta_bias)
        assert z is out is dz is None and delta_softplus and not recompute_out_z
        assert dout.shape == u.shape and dout.dtype == u.dtype and (dout.stride(-1) == 1 or dout.shape[-1] == 1)
        chunks = -(-u.shape[2] // 2048)
        assert chunks == 1 if x is None else x.shape == (*u.shape[:2], chunks, 2 * a.shape[1]) and x.is_contiguous()
        self.calls.append("bwd")
        with torch.enable_grad():
            exact = [t.detach().double().requires_grad_() for t in (u, delta, a, b, c, d, delta_bias)]
            return [t.float() for t in torch.autograd.grad(kernel_scan(*exact), exact, dout.double())]


def package(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "mamba_ssm", package("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", stand_in)
    return stand_in


def inputs(batch: int, slices: int, length: int, channels: int, states: int, routes: int) -> list[Tensor]:
    """Float64 (u, delta, a, b, c, skip, bias, order): slices that share the voxels out at random, routes that walk them at random."""
    g = torch.Generator().manual_seed(length)
    line = (batch, slices * length, routes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a = -torch.arange(1, states + 1) * (1 + 0.1 * normal(routes, channels, states).abs())
    share = torch.randperm(slices * length, generator=g).view(slices, 1, length)
    shuffled = torch.rand(slices, routes, length, generator=g).argsort(-1)
    order = share.expand_as(shuffled).gather(2, shuffled)
    per_voxel = normal(batch, slices * length, channels), normal(*line, channels), a, normal(*line, states), normal(*line, states)
    return [*per_voxel, normal(routes, channels), normal(routes, channels) - 2, order]


SHAPES = [(2, 3, 11, 3, 7, 4), (1, 1, 1, 2, 1, 4), (1, 4, 9, 5, 16, 1), (2, 1, 2051, 1, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_oracle(shape: tuple[int, ...], kernel: StandIn) -> None:
    *exact, order = inputs(*shape)
    exact = [t.requires_grad_() for t in exact]
    y = reference.scan(*exact, order)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (y, *torch.autograd.grad(y, exact, grad))
    g, *given = (t.detach().float() for t in (grad, *exact))
    given[3] = torch.cat([given[3], given[4]], -1)[..., : shape[4]]  # a slice of a wider tensor, as the network gives it
    got = (cuda.forward(*given, order), *cuda.backward(g, *given, order))
    for name, value, oracle in zip(NAMES, got, expected, strict=True):
        assert value.shape == oracle.shape and value.dtype == torch.float32, name
        assert (value - oracle).abs().max() <= 1e-6 * oracle.abs().max() + 1e-12, name


def test_states_between_chunks_are_recomputed_only_for_long_walks(kernel: StandIn) -> None:
    for length, calls in ((2048, ["bwd"]), (2049, ["fwd", "bwd"])):
        *given, order = inputs(1, 1, length, 1, 1, 1)
        given = [t.float() for t in given]
        kernel.calls.clear()
        cuda.backward(torch.ones_like(given[0]), *given, order)
        assert kernel.calls == calls


def test_ready_with_the_kernel(kernel: StandIn) -> None:
    assert cuda.available() == "ready"


def test_says_that_mamba_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert cuda.available() == "not available: install mamba-ssm with MAMBA_KEEP_CUDA_BUILD=TRUE"


def test_says_that_mamba_came_without_its_kernel(kernel: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)
    assert cuda.available() == "mamba-ssm is installed, but without its compiled kernel: reinstall it with MAMBA_KEEP_CUDA_BUILD=TRUE"


def test_says_that_the_kernel_was_built_for_another_torch(kernel: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "selective_scan_cuda")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "selective_scan_cuda.py").write_text("raise ImportError('undefined symbol: _ZN3c104cuda9SetDeviceEi')\n")
    assert "does not fit this version of torch" in cuda.available()
