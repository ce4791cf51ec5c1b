"""The training loop: it learns, resumes to the same weights after a kill, and stops on a loss that is not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.progress import run
from napari_breastseg.training.loop import FitConfig, fit


def loss(network: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    noise = torch.rand(1)  # stands for dropout: drawn from the global generator
    return (network(x) - x.sum(1, keepdim=True)).square().mean() + 0.01 * noise.sum() * network(x).abs().mean()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_it_learns() -> None:
    weights = run(fit(network(), loss, FitConfig(steps=300, learning_rate=0.05)))
    torch.testing.assert_close(weights["weight"], torch.ones(1, 3), atol=0.05, rtol=0)


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    config = FitConfig(steps=12, save_every=4)
    uninterrupted = run(fit(network(), loss, config, tmp_path / "whole.safetensors"))
    job = fit(network(), loss, config, tmp_path / "state.safetensors")
    for _ in range(7):  # six steps are done; the state on disk is of step four
        next(job)
    job.close()
    job = fit(network(), loss, config, tmp_path / "state.safetensors")
    assert next(job).step == 4
    resumed = run(job)
    for key, value in uninterrupted.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0)


def test_frozen_parameters_stay() -> None:
    net = network()
    before = net.bias.detach().clone()
    run(fit(net, loss, FitConfig(steps=5), trained=[net.weight]))
    assert torch.equal(net.bias, before)


def test_a_loss_that_is_never_finite_stops_the_training() -> None:
    with pytest.raises(ComputeError, match="not a finite number"):
        run(fit(network(), lambda net, step: net(torch.full((1, 3), torch.nan)).sum(), FitConfig(steps=50)))
