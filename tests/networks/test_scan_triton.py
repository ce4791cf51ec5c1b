"""The Triton scan against the float64 oracle: values and all gradients, compiled on a GPU, interpreted without one.

Triton decides at its import whether it interprets, so the kernels run in a process of their own: this file, started as a script.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from napari_breastseg.networks.selective_scan import reference

# Set-up keeps Triton apart, without a GPU: imported beside Mesa's OpenGL it ends a process with a window, since both bring an LLVM.
APART = Path(sys.prefix) / "interpreted"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (APART.is_dir() or importlib.util.find_spec("triton")), reason="Triton is not installed"),
]

NAMES = ("y", "u", "delta", "a", "b", "c", "skip", "bias")


class Case(NamedTuple):
    batch: int
    slices: int
    length: int
    channels: int
    states: int
    routes: int
    strided: bool = False
    bias: float = -2.0


CASES = {
    "one position": Case(1, 1, 1, 2, 7, 4),
    "one route, one state": Case(1, 3, 19, 5, 1, 1),
    "published": Case(1, 2, 17, 4, 32, 4),
    "strided, padded channels and states": Case(2, 2, 11, 3, 7, 4, strided=True),
    "blocks of channels": Case(1, 1, 9, 6, 32, 1),
    "many states": Case(1, 2, 13, 3, 64, 1),
    "more states than a warp's tile": Case(1, 1, 10, 2, 200, 1),
    "tiny steps": Case(1, 1, 12, 2, 7, 4, bias=-12.0),
}


def inputs(case: Case) -> list[Tensor]:
    """Float64 (u, delta, a, b, c, skip, bias, order): slices that share the voxels out at random, routes that walk them at random."""
    g = torch.Generator().manual_seed(case.length)
    voxels = case.slices * case.length
    line = (case.batch, voxels, case.routes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a = -torch.arange(1, case.states + 1) * (1 + 0.1 * normal(case.routes, case.channels, case.states).abs())
    share = torch.randperm(voxels, generator=g).view(case.slices, 1, case.length)
    shuffled = torch.rand(case.slices, case.routes, case.length, generator=g).argsort(-1)
    order = share.expand_as(shuffled).gather(2, shuffled)
    u, delta = normal(case.batch, voxels, case.channels), normal(*line, case.channels)
    b, c = normal(*line, case.states), normal(*line, case.states)
    skip, bias = normal(case.routes, case.channels), normal(case.routes, case.channels) + case.bias
    return [u, delta, a, b, c, skip, bias, order]


def differences(case: Case, device: str, forward: Callable[..., Tensor], backward: Callable[..., tuple[Tensor, ...]]) -> dict[str, float]:
    """Largest difference of the output and of each gradient from the oracle, as a part of the largest value."""
    *exact, order = inputs(case)
    exact = [t.requires_grad_() for t in exact]
    y = reference.scan(*exact, order)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (y, *torch.autograd.grad(y, exact, grad))
    given = [t.detach().float().to(device) for t in (grad, *exact)]
    if case.strided:  # the first apart in the last axis, the others slices of a wider tensor, as the network gives them
        given = [t.mT.contiguous().mT if i < 2 else torch.cat([t, t], -1)[..., : t.shape[-1]] for i, t in enumerate(given)]
        assert not any(t.is_contiguous() for t in given)
    g, *rest = given
    got = (forward(*rest, order.to(device)), *backward(g, *rest, order.to(device)))
    pairs = zip(NAMES, got, expected, strict=True)
    return {name: ((value.cpu() - oracle).abs().max() / oracle.abs().max().clamp(min=1e-12)).item() for name, value, oracle in pairs}


def run(*arguments: str, **environment: str) -> dict[str, Any]:
    """What this file prints when started as a script."""
    command = [sys.executable, __file__, *arguments]
    paths = [str(APART), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@cache
def results() -> dict[str, Any]:
    return run() if torch.cuda.is_available() else run(TRITON_INTERPRET="1")


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_oracle(case: str) -> None:
    errors = results()[case]
    assert set(errors) == set(NAMES)
    assert errors.pop("y") <= 1e-6
    assert max(errors.values()) <= 5e-6, errors


def test_compiles_for_a_gpu_and_fits_its_registers(tmp_path: Path) -> None:
    """The interpreter takes what the compiler refuses; the compiler needs no GPU."""
    spills = run("compile", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert spills == {"_forward": 0, "_backward": 0}


def spilled(kernel: Any) -> int:
    """Compile a kernel for an A100 in the published sizes and count where a register is put aside in memory."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    sizes = {"states": 32, "STATES": 32, "CHANNELS": 4, "STEPS": 16 if kernel.__name__ == "_forward" else 8}
    kinds = dict.fromkeys(kernel.arg_names[: kernel.arg_names.index("length")], "*fp32") | {"order": "*i64"}
    signature = {name: "constexpr" if name in sizes else kinds.get(name, "i32") for name in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(len(kinds))}
    code = compile(ASTSource(kernel, signature, sizes, aligned), target=GPUTarget("cuda", 80, 32), options={"num_warps": 1})
    return len(re.findall(r"\bSTL\b", code.asm["sass"]))


if __name__ == "__main__":
    from napari_breastseg.networks.selective_scan import triton as backend

    if sys.argv[1:] == ["compile"]:
        print(json.dumps({kernel.__name__: spilled(kernel) for kernel in (backend._forward, backend._backward)}))
    else:
        where = "cuda" if torch.cuda.is_available() else "cpu"
        print(json.dumps({name: differences(case, where, backend.forward, backend.backward) for name, case in CASES.items()}))
