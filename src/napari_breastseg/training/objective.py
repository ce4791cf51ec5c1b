"""The loss of one step of a learning round: what the person corrected, what they corrected before, and what must not be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_breastseg.case import TUMOUR, UNDECIDED
from napari_breastseg.losses.frloss import FRLoss
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.losses.sparse import balance, distillation, trust_region, trusted
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import CorrectedWindow, Labels
from napari_breastseg.training.encoded import Source, log_odds, probability


@dataclass(frozen=True)
class Lesson:
    """One window: its labels, what the network said before learning and how much that is still believed where, and each voxel's weight."""

    source: Source
    labels: Tensor
    before: Tensor
    trusted: Tensor
    weight: Tensor | None


class Objective:
    """Draws the windows of a step and returns their loss.

    A step sees one corrected window, one of an earlier case if there are any, and one exemplar if the method has any. The first is drawn
    by the corrected components that it shows and by how long ago they were made, the second by its components alone.

    Parameters
    ----------
    network : SegmentationNetwork
        With the weights that it starts from, whose answers are what is trusted.
    corrected : sequence of (Source, CorrectedWindow)
    exemplars : sequence of (Source, labels)
    base : mapping of str to Tensor
        The base model's value of each parameter that learns.
    trained : mapping of str to Parameter
    config : LearnConfig
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        corrected: Sequence[tuple[Source, CorrectedWindow]],
        exemplars: Sequence[tuple[Source, Labels]],
        base: Mapping[str, Tensor],
        trained: Mapping[str, nn.Parameter],
        config: LearnConfig,
    ) -> None:
        self.network, self.trained, self.config = network, trained, config
        self.device = next(iter(trained.values())).device
        self.base = {name: base[name].to(self.device) for name in trained}
        chosen = [(source, window) for source, window in corrected if trains(window, config)]
        self.corrected = [self._lesson(source, window.taught, window.decided) for source, window in chosen]
        self.shares = _normal([window.weight * window.recency for _, window in chosen])
        before = [window.weight * (window.rounds_ago > 0) for _, window in chosen]
        self.earlier_shares = _normal(before) if config.earlier and any(before) else None
        self.exemplars = [self._lesson(source, labels) for source, labels in exemplars]
        self.frloss = FRLoss(weight=config.frloss) if config.frloss else None

    def _lesson(self, source: Source, labels: Labels, decided: Labels | None = None) -> Lesson:
        before, known = self._tensor(probability(source, self.network)), self._tensor(labels)
        anywhere = (labels if decided is None else decided) != UNDECIDED
        trust = trusted(self._tensor(anywhere), before, self.config.reach)
        # Where all is decided a plain mean is right, but in a window without tumour an erased false alarm would weigh nothing in it.
        plain = anywhere.all() and (labels == TUMOUR).any()
        return Lesson(source, known, before, trust, None if plain else balance(known, before))

    def _tensor(self, array: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)[None]

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Draw the windows of `step` and return their loss; the same seed and step draw the same windows."""
        assert network is self.network
        config, rng = self.config, np.random.default_rng((self.config.seed, step))
        total = self._corrected(self.corrected[rng.choice(len(self.corrected), p=self.shares)])
        if self.earlier_shares is not None:
            total = total + self._corrected(self.corrected[rng.choice(len(self.corrected), p=self.earlier_shares)])
        if self.exemplars and (config.replay or config.distillation):
            total = total + self._exemplar(self.exemplars[rng.integers(len(self.exemplars))])
        if config.l2sp:
            pull = torch.stack([((p - self.base[name]) ** 2).sum() for name, p in self.trained.items()]).sum()
            total = total + config.l2sp * pull
        return total

    def _corrected(self, lesson: Lesson) -> Tensor:
        logits, further = self._outputs(lesson)
        value = partial_ce_dice(logits, lesson.labels, lesson.weight) + further
        if self.config.trust:
            value = value + self.config.trust * trust_region(log_odds(logits), lesson.before, lesson.trusted)
        return value

    def _exemplar(self, lesson: Lesson) -> Tensor:
        logits, further = self._outputs(lesson)
        known = self.config.distillation * distillation(log_odds(logits), lesson.before, lesson.labels)
        return self.config.replay * partial_ce_dice(logits, lesson.labels) + known + further

    def _outputs(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """Return the logits, and FRLoss if it takes part and there is tumour to compare with."""
        wanted = self.frloss is not None and bool((lesson.labels == TUMOUR).any())
        features, logits = lesson.source.outputs(self.network, with_features=wanted)
        logits = logits.float()
        if self.frloss is None or features is None:
            return logits, logits.new_zeros(())
        return logits, self.frloss(features.float(), lesson.labels)


def trains(window: CorrectedWindow, config: LearnConfig) -> bool:
    """Tell whether a window is drawn at all: it shows corrections to train on, and new ones unless earlier cases are drawn again."""
    return window.weight > 0 and (config.earlier or window.rounds_ago == 0)


def _normal(weights: Sequence[float]) -> npt.NDArray[np.float64]:
    shares = np.asarray(weights, np.float64)
    return shares / shares.sum() if shares.sum() > 0 else shares
