"""Every scan back end against the float64 oracle: values and all gradients."""

from __future__ import annotations

import pytest
import torch

from napari_breastseg.networks import selective_scan
from napari_breastseg.networks.selective_scan import blocked, cpu, reference


def inputs(batch: int, height: int, width: int, channels: int, states: int, routes: int, dtype: torch.dtype) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(states * 100 + height)
    length = height * width

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a = -torch.arange(1, states + 1, dtype=torch.float64).expand(routes, channels, states) * (
        1 + 0.1 * normal(routes, channels, states).abs()
    )
    tensors = [
        normal(batch, length, channels),
        normal(batch, length, routes, channels),
        a,
        normal(batch, length, routes, states),
        normal(batch, length, routes, states),
        normal(routes, channels),
        normal(routes, channels) - 2,
    ]
    return [t.to(dtype) for t in tensors]


SHAPES = [(2, 4, 5, 3, 1, 4), (1, 7, 11, 4, 32, 4), (3, 1, 37, 5, 16, 1), (2, 33, 3, 2, 64, 4), (1, 1, 1, 2, 7, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["numba", "blocked", "blocked-64"])
def test_backend_agrees_with_the_oracle(shape: tuple[int, ...], backend: str) -> None:
    exact = [t.requires_grad_() for t in inputs(*shape, torch.float64)]
    y = reference.cross_scan(*exact, shape[1])
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(y, exact, grad)

    dtype = torch.float64 if backend == "blocked-64" else torch.float32
    module = cpu if backend == "numba" else blocked
    given = [t.detach().to(dtype) for t in exact]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    got = module.forward(*given, shape[1])
    assert (got - y).abs().max() <= tolerance * y.abs().max()
    for value, oracle in zip(module.backward(grad.to(dtype), *given, shape[1]), expected, strict=True):
        assert (value - oracle).abs().max() <= 5 * tolerance * oracle.abs().max() + 1e-12


def test_operator_takes_strided_input_and_differentiates() -> None:
    shape = (2, 6, 5, 4, 8, 4)
    plain = [t.requires_grad_() for t in inputs(*shape, torch.float32)]
    strided = [t.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for t in plain]
    assert not strided[0].is_contiguous()
    results = [torch.autograd.grad(selective_scan.cross_scan(*tensors, 6).square().sum(), tensors) for tensors in (plain, strided)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_operator_is_registered_properly() -> None:
    args = tuple(t.requires_grad_() for t in inputs(1, 3, 4, 2, 4, 4, torch.float32))
    results = torch.library.opcheck(torch.ops.napari_breastseg.cross_scan.default, (*args, 3))
    assert set(results.values()) == {"SUCCESS"}


def test_forced_backend_is_used() -> None:
    selective_scan.force_backend("blocked")
    try:
        assert selective_scan.chosen_backend(torch.device("cpu"), torch.float32) == "blocked"
    finally:
        selective_scan.force_backend(None)
    assert selective_scan.chosen_backend(torch.device("cpu"), torch.float32) == "numba"
