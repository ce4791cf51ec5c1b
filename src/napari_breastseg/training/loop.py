"""The training loop that every kind of training shares: AdamW, warm-up and cosine, clipping, EMA, resumable after a kill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.progress import Job, Progress

Weights = dict[str, Tensor]
BAD_STEPS = 10
"""Steps in a row with a non-finite loss after which training gives up."""


@dataclass(frozen=True)
class FitConfig:
    """Settings of :func:`fit`.

    Parameters
    ----------
    steps : int
    learning_rate, weight_decay : float
        AdamW.
    warm_up : int
        Steps of linear warm-up before the cosine decay to 1 % of the rate.
    clip : float
        Largest norm of the gradient.
    ema : float
        Decay of the exponential moving average of the weights, which is what is kept.
    save_every : int
        Steps between two states on disk.
    seed : int
        Step i draws its batch and dropout from (seed, i), so a resumed run repeats an uninterrupted one.
    """

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: int = 10
    clip: float = 1.0
    ema: float = 0.95
    save_every: int = 50
    seed: int = 0


def fit(
    network: nn.Module, loss: Callable[[nn.Module, int], Tensor], config: FitConfig, state: Path | None = None,
    trained: Iterable[nn.Parameter] | None = None,
) -> Job[Weights]:  # fmt: skip
    """Train `network` in place and return the averaged weights.

    Parameters
    ----------
    network : nn.Module
    loss : callable
        ``loss(network, step)`` draws the batch of that step and returns the scalar loss.
    config : FitConfig
    state : Path, optional
        File to resume from, if it exists, and to save to.
    trained : iterable of Parameter, optional
        The parameters that learn; all of them if not given.

    Raises
    ------
    ComputeError
        If the loss is not finite ten times in a row.
    """
    parameters = list(network.parameters() if trained is None else trained)
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    average = {key: value.detach().clone() for key, value in network.state_dict().items()}
    first = 0
    if state is not None:
        state.parent.mkdir(parents=True, exist_ok=True)
        first = _resume(state, network, optimiser, average)
    bad, mean_loss = 0, float("nan")
    yield Progress(first, config.steps, "Training")
    for step in range(first, config.steps):
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        optimiser.zero_grad(set_to_none=True)
        value = loss(network, step)
        if torch.isfinite(value):
            value.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip)
            optimiser.step()
            bad = 0
            mean_loss = float(value.detach()) if math.isnan(mean_loss) else 0.95 * mean_loss + 0.05 * float(value.detach())
        else:
            bad += 1
            if bad == BAD_STEPS:
                raise ComputeError("Training stopped: the loss is not a finite number. Lower the learning rate or check the images.")
        _update(average, network, min(config.ema, (step + 1) / (step + 10)))
        done = step + 1
        if state is not None and (done % config.save_every == 0 or done == config.steps):
            _save(state, network, optimiser, average, done)
        yield Progress(done, config.steps, f"Training, loss {mean_loss:.3f}", payload={"loss": mean_loss})
    return average


def _schedule(step: int, config: FitConfig) -> float:
    warm = min(1.0, (step + 1) / max(config.warm_up, 1))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / max(config.steps, 1))))


def _update(average: Weights, network: nn.Module, decay: float) -> None:
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:  # what batch norm counts
            average[key].copy_(value)


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, average: Weights, step: int) -> None:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()} | {f"average.{k}": v for k, v in average.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
    content = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata={"step": str(step)})
    write_atomically(path, content)


def _resume(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, average: Weights) -> int:
    if not path.is_file():
        return 0
    device = next(network.parameters()).device
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for key in file.keys():  # noqa: SIM118 - a safetensors handle is not a mapping
            group, name = key.split(".", 1)
            groups[group][name] = file.get_tensor(key).to(device)
    network.load_state_dict(groups["network"])
    for key, value in groups["average"].items():
        average[key].copy_(value)
    moments: dict[int, Any] = {}
    for key, value in groups["optimiser"].items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
