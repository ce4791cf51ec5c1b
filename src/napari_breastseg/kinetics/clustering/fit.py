"""Fitting a codebook: HCNet's VQ-VAE of time-intensity curves, with what it takes for all of its codes to be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.kinetics.clustering.codebook import Codebook, canonical_order
from napari_breastseg.kinetics.clustering.curves import Batch, Curves, draw_batch
from napari_breastseg.kinetics.clustering.grid import grid_of
from napari_breastseg.kinetics.clustering.quantiser import MovingCodebook, nearest, spread_codes
from napari_breastseg.kinetics.clustering.threads import one_thread
from napari_breastseg.kinetics.clustering.vqvae import (
    FEATURES,
    OBJECTIVES,
    CurveAutoencoder,
    Objective,
    code_loss,
    reconstruction_error,
    straight_through,
)
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software

RATE_STEPS = 6
"""The rate is halved after every sixth of the steps, as the paper halves it after every 50 of 300 epochs."""
ALONE = 0.1
"""Share of the steps, at the start, in which the autoencoder learns without codes, so that they start where the curves are. Families that
share a code at the start may do so for good (purity of three fits 0.87 to 0.96 without this, 0.97 to 0.98 with it)."""
SETTLING = 0.1
"""Share of the steps, at the end, in which no code is restarted."""
EARLY = 0.3
"""Share of the steps in which the cases end early; no code moves in them. If the last nodes are never seen masked, curves that are shorter
than those of the fit fall together (purity of two fits at curves 100 s shorter 0.71 and 0.75 without this, 0.88 and 0.96 with it)."""
TOLD = 10
"""Steps between two signs of progress."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of :func:`fit_clusters`.

    Parameters
    ----------
    clusters : int
        K, from 2 to 253, so that the labels and the one for no enhancement fit a byte.
    steps, voxels : int
        Steps of Adam and voxels in each. The paper's 300 epochs are of a set of unknown size; 1,200 steps take about ten seconds.
    learning_rate : float
        At the start.
    commitment : float
        Beta.
    dropout : float
        Chance that a phase is left out; see :func:`~napari_breastseg.kinetics.clustering.curves.draw_batch`.
    objective : str
        "ema", "standard" or "paper"; see :func:`~napari_breastseg.kinetics.clustering.vqvae.code_loss`. Codes that nobody uses are
        restarted with "ema" alone; "paper", a negative control, has codes from the first step on.
    seed : int
        The same curves, settings and seed give the same codebook, on any number of threads.

    Raises
    ------
    InputError
        If a number is out of range or the objective is unknown.
    """

    clusters: int = 10
    steps: int = 1200
    voxels: int = 4096
    learning_rate: float = 5e-3
    commitment: float = 0.25
    dropout: float = 0.3
    objective: Objective = "ema"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"Curves cannot be clustered by {self.objective!r}. Choose {', '.join(OBJECTIVES)}.")
        if not 2 <= self.clusters <= 253:
            raise InputError(f"{self.clusters} clusters cannot be labelled. Choose from 2 to 253.")
        if self.steps < 1 or self.voxels < self.clusters or not self.learning_rate > 0 or self.commitment < 0 or not 0 <= self.dropout < 1:
            raise InputError("The settings of the clustering are out of range. Give at least one step and as many voxels as clusters.")


@dataclass(frozen=True)
class FitStatus:
    """How a fit stands, measured on one batch; the payload of its progress.

    Attributes
    ----------
    reconstruction : float
        Mean squared error at the nodes.
    used : int
        Codes that any voxel of the batch chose.
    perplexity : float
        Exponential of the entropy of the choices: the number of codes, were they equally used.
    rms : float
        Root mean square of the encodings, which grows without end where nothing keeps them near the codes.
    """

    reconstruction: float
    used: int
    perplexity: float
    rms: float


def fit_clusters(cases: Sequence[Curves], settings: FitSettings = FitSettings()) -> Job[Codebook]:  # noqa: B008 (frozen)
    """Fit a codebook to the curves of one or more cases.

    Parameters
    ----------
    cases : sequence of Curves
        Each has the same weight, however many voxels it has.
    settings : FitSettings

    Raises
    ------
    InputError
        If there are no cases.
    ComputeError
        If the loss is not finite.
    """
    if not cases:
        raise InputError("There are no curves to cluster. Give at least one examination with a breast mask.")
    fit, alone = _Fit(cases, settings), 0 if settings.objective == "paper" else int(ALONE * settings.steps)
    for step in range(alone):
        fit.learn_shapes()
        if step % TOLD == 0:
            yield Progress(step, settings.steps, "Clustering curves: learning their shapes")
    fit.start_codes()
    for step in range(alone, settings.steps):
        fit.learn_codes(restart=step < (1 - SETTLING) * settings.steps)
        if step % TOLD == 0 or step + 1 == settings.steps:
            message = f"Clustering curves: {fit.status.used} of {settings.clusters} clusters in use"
            yield Progress(step + 1, settings.steps, message, fit.status)
    return fit.codebook()


class _Fit:
    """The network, the codes and the optimiser of one fit."""

    def __init__(self, cases: Sequence[Curves], settings: FitSettings) -> None:
        self.cases, self.settings = cases, settings
        self.rng = np.random.default_rng(settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = CurveAutoencoder()
        # The rate of the codes is that of the networks; where they are moving averages they have no gradient, and so no step.
        self.learned = nn.Parameter(torch.zeros(settings.clusters, FEATURES))
        self.optimiser = torch.optim.Adam([*self.network.parameters(), self.learned], settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimiser, -(-settings.steps // RATE_STEPS), 0.5)

    @one_thread()
    def learn_shapes(self) -> None:
        """Take one step without codes."""
        batch = self._draw()
        decoded = self.network.decode(self.network.encode(batch.nodes, batch.mask))
        self._descend(reconstruction_error(decoded, batch.nodes, batch.mask))

    @one_thread()
    def start_codes(self) -> None:
        """Spread the codes over one batch of encodings."""
        batch = self._draw()
        with torch.no_grad():
            codes = spread_codes(self.network.encode(batch.nodes, batch.mask), self.settings.clusters, self.generator)
            self.learned.copy_(codes)
        self.moving = MovingCodebook(codes)

    @one_thread()
    def learn_codes(self, restart: bool) -> None:
        """Take one step with codes."""
        objective, early = self.settings.objective, bool(self.rng.random() < EARLY)
        batch = self._draw(early)
        encoded = self.network.encode(batch.nodes, batch.mask)
        index = nearest(encoded.detach(), self._codes.detach())
        code = self._codes[index]
        error = reconstruction_error(self.network.decode(straight_through(encoded, code)), batch.nodes, batch.mask)
        self._descend(error + code_loss(objective, encoded, code, self.settings.commitment))
        if objective == "ema" and not early:
            self.moving.update(encoded.detach(), index)
            if restart:
                self.moving.restart(encoded.detach(), self.generator)
        self.status = _status(error, encoded, index, self.settings.clusters)

    @one_thread()
    def codebook(self) -> Codebook:
        """Freeze what was fitted."""
        reach = max(grid_of(case.seconds).reach for case in self.cases)
        with torch.no_grad():
            decoded = self.network.decode(self._codes)[:, :reach].numpy()
        order = canonical_order(decoded)
        linear = [layer for layer in self.network.encoder if isinstance(layer, nn.Linear)]
        layers = tuple((layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear)
        card = {
            "settings": asdict(self.settings),
            "cases": [{"voxels": case.values.shape[1], "seconds": list(case.seconds)} for case in self.cases],
            "figures": asdict(self.status),
            "software": software(),
        }
        return Codebook(layers, self._codes.detach().numpy()[order], np.ascontiguousarray(decoded[order]), card)

    @property
    def _codes(self) -> Tensor:
        return self.moving.codes if self.settings.objective == "ema" else self.learned

    def _draw(self, early: bool = False) -> Batch:
        return draw_batch(self.cases, self.settings.voxels, self.settings.dropout, self.rng, early)

    def _descend(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise ComputeError("The clustering of the curves stopped: the loss is not a finite number. Lower the learning rate.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()


def _status(error: Tensor, encoded: Tensor, index: Tensor, clusters: int) -> FitStatus:
    share = torch.bincount(index, minlength=clusters) / len(index)
    perplexity = torch.special.entr(share).sum().exp()
    return FitStatus(error.item(), int((share > 0).sum()), perplexity.item(), encoded.detach().square().mean().sqrt().item())
