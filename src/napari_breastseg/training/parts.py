"""What of a network learns, and what is given up, step by step, when memory does not suffice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.training.config import Trained

RATES: dict[Trained, float] = {"norm-and-head": 1.5, "decoder": 1.0, "all": 0.05}
"""Learning rate of each, relative to the decoder's: the fewer parameters learn, the faster each may."""
ENOUGH_CASES = 5
"""Corrected cases from which the whole network learns on a GPU."""
_NORMS = (nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Rung:
    """One step of the ladder that is climbed down when memory runs out.

    Attributes
    ----------
    trained : str
        What learns.
    device : device
        Where the network is.
    hold : device
        Where encoded windows wait.
    said : str
        For people: what was given up to come here; empty for the first.
    """

    trained: Trained
    device: torch.device
    hold: torch.device
    said: str = ""


def choose(trained: Trained | Literal["auto"], device: torch.device, cases: int) -> Trained:
    """Return what learns: all on a GPU with :data:`ENOUGH_CASES` corrected cases or more, else the decoder.

    A decoder alone learns from windows that are encoded once, which makes a step on a CPU some twenty times as fast, and few corrections
    cannot lead the encoder astray.
    """
    if trained != "auto":
        return trained
    return "all" if device.type != "cpu" and cases >= ENOUGH_CASES else "decoder"


def ladder(trained: Trained, device: torch.device) -> list[Rung]:
    """Return what to try, in order, each step needing less memory than the one before."""
    cpu = torch.device("cpu")
    rungs = [Rung(trained, device, device)]
    if trained == "all":
        rungs.append(Rung("decoder", device, device, "only the decoder learned"))
    if device.type != "cpu":
        small: Trained = "norm-and-head" if trained == "norm-and-head" else "decoder"
        rungs.append(Rung(small, device, cpu, "only the decoder learned, from windows kept in main memory"))
        rungs.append(Rung(small, cpu, cpu, "the CPU was used"))
    if trained != "norm-and-head":
        rungs.append(Rung("norm-and-head", cpu, cpu, "on the CPU, only the decoder's norms and the last layer learned"))
    return rungs


def trained_parameters(network: SegmentationNetwork, trained: Trained) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name; all others rest, always those of what was trained beforehand."""
    everything = dict(network.named_parameters())
    at_rest = tuple(f"{name}." for name in network.frozen)
    chosen = {name: p for name, p in everything.items() if not name.startswith(at_rest)}
    if trained != "all":
        chosen = dict(network.decoder_parameters())
    if trained == "norm-and-head":
        norms = {name for name, module in network.named_modules() if isinstance(module, _NORMS)}
        head = network.decoding[-1]
        chosen = {name: p for name, p in chosen.items() if name.rpartition(".")[0] in norms or name.split(".")[0] == head}
    for name, parameter in everything.items():
        parameter.requires_grad_(name in chosen)
    return chosen
