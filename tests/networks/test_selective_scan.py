"""Every scan back end against the float64 oracle: values and all gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from napari_breastseg.errors import ComputeError
from napari_breastseg.networks import selective_scan
from napari_breastseg.networks.selective_scan.reference import scan, visiting_order

Size = tuple[int, int, int]


def inputs(batch: int, size: Size, channels: int, states: int, routes: int, rank: int = 2, bias: float = -2.0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(states * 100 + size[1])

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a = -torch.arange(1, states + 1, dtype=torch.float64).expand(routes, channels, states) * (
        1 + 0.1 * normal(routes, channels, states).abs()
    )
    voxels = size[0] * size[1] * size[2]
    return [
        normal(batch, voxels, channels),
        normal(routes, rank + 2 * states, channels) / channels**0.5,
        normal(routes, channels, rank),
        a,
        normal(routes, channels),
        normal(routes, channels) + bias,
    ]


def oracle(
    u: torch.Tensor, project: torch.Tensor, project_dt: torch.Tensor, a: torch.Tensor, skip: torch.Tensor, bias: torch.Tensor,
    size: Size, axis: int,
) -> torch.Tensor:  # fmt: skip
    states, rank = a.shape[2], project_dt.shape[2]
    projected = torch.einsum("bvc,kpc->bvkp", u, project)
    delta = torch.einsum("bvkr,kcr->bvkc", projected[..., :rank], project_dt)
    b, c = projected[..., rank : rank + states], projected[..., rank + states :]
    return scan(u, delta, a, b, c, skip, bias, visiting_order(a.shape[0], size, axis))


@pytest.fixture(params=["numba", "blocked", "blocked in float64"])
def backend(request: pytest.FixtureRequest) -> Iterator[tuple[torch.dtype, float]]:
    name, _, wide = request.param.partition(" in ")
    selective_scan.force_backend(name)
    yield (torch.float64, 1e-12) if wide else (torch.float32, 1e-6)
    selective_scan.force_backend(None)


CASES = [
    (2, (1, 4, 5), 0, 3, 1, 4),
    (1, (1, 7, 11), 0, 4, 32, 4),
    (3, (1, 1, 37), 0, 5, 32, 1),
    (2, (1, 33, 3), 0, 2, 64, 4),
    (1, (1, 1, 1), 0, 2, 7, 4),
    (2, (3, 4, 5), 0, 3, 7, 4),
    (1, (3, 4, 5), 1, 3, 7, 4),
    (1, (3, 4, 5), 2, 3, 7, 4),
]


@pytest.mark.parametrize("case", CASES)
def test_backend_agrees_with_the_oracle(case: tuple[int, Size, int, int, int, int], backend: tuple[torch.dtype, float]) -> None:
    batch, size, axis, channels, states, routes = case
    dtype, tolerance = backend
    exact = [t.requires_grad_() for t in inputs(batch, size, channels, states, routes)]
    y = oracle(*exact, size, axis)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(y, exact, grad)

    given = [t.detach().to(dtype).requires_grad_() for t in exact]
    got = selective_scan.cross_scan(*given, size, axis)
    assert got.dtype == dtype
    assert (got - y).abs().max() <= tolerance * y.abs().max()
    for value, right in zip(torch.autograd.grad(got, given, grad.to(dtype)), expected, strict=True):
        assert (value - right).abs().max() <= 5 * tolerance * right.abs().max() + 1e-12


@pytest.mark.parametrize("bias", [-7.0, -12.0, 9.0])
def test_gradients_hold_for_tiny_and_for_large_steps(bias: float, backend: tuple[torch.dtype, float]) -> None:
    """Mamba draws its first steps from 0.001 to 0.1; the softplus is flat there, and a careless derivative cancels."""
    dtype, tolerance = backend
    size: Size = (1, 5, 9)
    exact = [t.requires_grad_() for t in inputs(1, size, 3, 7, 4, bias=bias)]
    exact[2].data *= 0.01  # so that no voxel takes a large step
    y = oracle(*exact, size, 0)
    given = [t.detach().to(dtype).requires_grad_() for t in exact]
    got = selective_scan.cross_scan(*given, size, 0)
    for value, right in zip(torch.autograd.grad(got.sum(), given), torch.autograd.grad(y.sum(), exact), strict=True):
        assert (value - right).abs().max() <= 5 * tolerance * right.abs().max()


def test_slices_across_an_axis_are_scanned_one_by_one() -> None:
    """Each coronal slice cut out and scanned alone gives what the whole volume gives."""
    size = (3, 4, 5)
    tensors = [t.float() for t in inputs(2, size, 3, 7, 4)]
    whole = selective_scan.cross_scan(*tensors, size, 1).view(2, *size, 3)
    volume = tensors[0].view(2, *size, 3)
    for row in range(4):
        alone = selective_scan.cross_scan(volume[:, :, row].reshape(2, 15, 3), *tensors[1:], (1, 3, 5))
        torch.testing.assert_close(whole[:, :, row].reshape(2, 15, 3), alone)


def test_operator_takes_strided_input_and_differentiates() -> None:
    plain = [t.float().requires_grad_() for t in inputs(2, (1, 6, 5), 4, 7, 4)]
    strided = [t.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for t in plain]
    assert not strided[0].is_contiguous()
    results = [torch.autograd.grad(selective_scan.cross_scan(*ts, (1, 6, 5)).square().sum(), ts) for ts in (plain, strided)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("strided", [False, True])
def test_operator_is_registered_properly(backend: tuple[torch.dtype, float], strided: bool) -> None:
    plain = [t.to(backend[0]) for t in inputs(1, (1, 3, 4), 2, 7, 4)]
    args = tuple((t.mT.contiguous().mT if strided else t).requires_grad_() for t in plain)
    assert args[0].is_contiguous() is not strided
    results = torch.library.opcheck(torch.ops.napari_breastseg.cross_scan.default, (*args, [1, 3, 4], 0))
    assert set(results.values()) == {"SUCCESS"}
    grad = args[0].detach() + 0.1
    backward = torch.ops.napari_breastseg.cross_scan_backward.default
    weights = [t.detach() for t in args]
    results = torch.library.opcheck(backward, (grad, *weights, [1, 3, 4], 0), test_utils=("test_schema", "test_faketensor"))
    assert set(results.values()) == {"SUCCESS"}


def test_export_sees_one_node() -> None:
    class Scan(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return selective_scan.cross_scan(*tensors, (1, 3, 4))  # type: ignore[arg-type]

    program = torch.export.export(Scan(), tuple(t.float() for t in inputs(1, (1, 3, 4), 2, 7, 4)))
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.napari_breastseg.cross_scan.default]


def test_forced_backend_is_used_and_an_unknown_one_refused() -> None:
    selective_scan.force_backend("blocked")
    try:
        assert selective_scan.chosen_backend(torch.device("cpu"), torch.float32) == "blocked"
        with pytest.raises(ComputeError, match="numba"):
            selective_scan.force_backend("abacus")
    finally:
        selective_scan.force_backend(None)
    assert selective_scan.chosen_backend(torch.device("cpu"), torch.float32) == "numba"


def test_a_gpu_prefers_its_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    everything = dict.fromkeys(selective_scan.HOMES, "ready")
    monkeypatch.setattr(selective_scan, "backends", lambda: everything)
    assert selective_scan.chosen_backend(gpu, torch.float32) == "triton"
    monkeypatch.setattr(selective_scan, "backends", lambda: {**everything, "triton": "not available"})
    assert selective_scan.chosen_backend(gpu, torch.float32) == "mamba-ssm"
    assert selective_scan.chosen_backend(gpu, torch.float64) == "blocked"
    monkeypatch.setattr(selective_scan, "_forced", "blocked")
    assert selective_scan.chosen_backend(gpu, torch.float32) == "blocked"
