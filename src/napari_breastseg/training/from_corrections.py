"""One learning round: fine-tune a model on a person's sparse corrections without letting it forget, and judge the candidate.

The encoder rests and every window is encoded once, so a step costs a small part of a full one, and what is learned is learned in the very
windows of the next prediction. The loss: cross-entropy and Dice on the corrected voxels, a trust region to the previous model away from
them, replay of phantoms (their labels, and the previous model's answers), L2-SP to the base model (Li et al. 2018). Blends of candidate and
parent are tried (Wortsman et al. 2022): the strongest one that passes the gate is proposed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_breastseg.case import TUMOUR, UNDECIDED
from napari_breastseg.errors import InputError
from napari_breastseg.inference.runner import Runner
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.losses.sparse import away_from, class_balance, distillation, trust_region
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import CorrectedWindow, Correction, balanced_accuracy, load_windows
from napari_breastseg.training.encoded import Encoded, encode, log_odds
from napari_breastseg.training.gate import Decision, Score, judge
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.replay import EXAM_SEEDS, PRACTICE_SEEDS, Window, central_windows, practice_windows, replay_volumes

BLENDS = (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1)
"""Shares of the way from the parent to the fine-tuned weights that are offered to the gate."""


@dataclass(frozen=True)
class LearnResult:
    """A candidate and what the gate says of it.

    Attributes
    ----------
    weights : Path
        safetensors, with its card beside it.
    decision : Decision
    seconds : float
    """

    weights: Path
    decision: Decision
    seconds: float


def learn(
    model: Path, base: Path, corrections: Sequence[Correction], config: LearnConfig, folder: Path, device: str = "auto"
) -> Job[LearnResult]:
    """Fine-tune `model` and return the candidate with the gate's decision; all arguments can be sent to another process.

    Parameters
    ----------
    model, base : Path
        Weights of the model in use and of the one that the lineage began with.
    corrections : sequence of Correction
    config : LearnConfig
    folder : Path
        Receives the candidate.
    device : str

    Raises
    ------
    InputError
        If nothing is annotated to train on.
    """
    started = time.perf_counter()
    parent, origin = load_model(model), load_model(base)
    preset = parent.preset
    yield Progress(0, 1, "Reading the corrections")
    windows = [window for one in corrections for window in load_windows(one, preset)]
    if not any((window.learn != UNDECIDED).any() for window in windows):
        raise InputError("There are no corrections to learn from in the breasts. Paint or erase a few places first.")
    practice = practice_windows((yield from replay_volumes(preset, PRACTICE_SEEDS)), preset.patch[0])
    exam = central_windows((yield from replay_volumes(preset, EXAM_SEEDS)), preset.patch[0])
    runner = Runner(parent, device)
    network = runner.network
    encoded = iter((yield from _encoded(runner, [w.image for w in windows] + [image for image, _ in [*practice, *exam]])))
    corrected = [(next(encoded), window) for window in windows]
    replay = [(next(encoded), window) for window in practice]
    examiner = _Examiner(network, corrected, [(next(encoded), window) for window in exam])
    before = examiner.score(parent.weights)
    at_base = before if origin.sha == parent.sha else examiner.score(_same_encoder(origin, parent, network))
    network.load_state_dict(dict(parent.weights))
    objective = _Objective(network, corrected, replay, origin, config)
    fit_config = FitConfig(config.steps, config.learning_rate, weight_decay=0.0, ema=0.95, seed=config.seed)
    weights = yield from fit(network, objective.loss, fit_config, trained=objective.trained.values())
    candidate, decision = yield from _strongest(examiner, parent.weights, weights, before, at_base)
    card = dict(parent.card) | {
        "parent": parent.sha,
        "base": origin.sha,
        "trained_on": f"{parent.card.get('trained_on', 'unknown')}; then corrections on {len(corrections)} case(s)",
        "learning": asdict(config),
        "metrics": dict(decision.figures),
        "device": runner.device.type,
        "software": software(),
    }
    path = save_model(candidate, card, folder)
    return LearnResult(path, decision, time.perf_counter() - started)


def _encoded(runner: Runner, images: Sequence[npt.NDArray[np.float32]]) -> Job[list[Encoded]]:
    behind = []
    for number, image in enumerate(images):
        yield Progress(number, len(images), "Looking at the corrected and the replay cases")
        behind.append(encode(runner.network, image, runner.device))
    return behind


def _strongest(
    examiner: _Examiner, parent: Mapping[str, Tensor], learned: Weights, before: Score, at_base: Score
) -> Job[tuple[Weights, Decision]]:
    """Return the strongest blend that passes the gate, or else all that was learned with the reasons against it."""
    refused: tuple[Weights, Decision] | None = None
    for number, share in enumerate(BLENDS):
        yield Progress(number, len(BLENDS), "Judging the candidate")
        blend = {key: torch.lerp(old, learned[key].cpu(), share) for key, old in parent.items()}
        judged = judge(examiner.score(blend), before, at_base)
        result = blend, Decision(judged.adopted, judged.reasons, {**judged.figures, "blend": share})
        if judged.adopted:
            return result
        refused = refused or result
    assert refused is not None
    return refused


def _same_encoder(origin: Model, parent: Model, network: SegmentationNetwork) -> Weights:
    """Return the weights of the base model after checking that what the parent's encoder gives is what its own would give.

    Raises
    ------
    InputError
        If it is not the model that the parent's lineage began with.
    """
    learned = {name for name, _ in network.decoder_parameters()}
    if not all(torch.equal(value, origin.weights[key]) for key, value in parent.weights.items() if key not in learned):
        raise InputError("The base model is not the one that the model in use has learned from. Give that one.")
    return dict(origin.weights)


class _Examiner:
    """Scores weights on the corrections and on the fixed replay windows."""

    def __init__(
        self, network: SegmentationNetwork, corrected: list[tuple[Encoded, CorrectedWindow]], exam: list[tuple[Encoded, Window]]
    ) -> None:
        self.network, self.corrected, self.exam = network, corrected, exam

    def score(self, weights: Mapping[str, Tensor]) -> Score:
        """Score `weights`; the network keeps them afterwards."""
        self.network.load_state_dict(dict(weights))
        answers = [(window, encoded.probability(self.network)) for encoded, window in self.corrected]
        replay = [_dice(encoded.probability(self.network) > 0.5, labels == TUMOUR) for encoded, (_, labels) in self.exam]
        trained = balanced_accuracy((window.learn, answer) for window, answer in answers)
        held_out = balanced_accuracy((window.held_out, answer) for window, answer in answers)
        assert trained is not None
        return Score(held_out, trained, replay)


def _dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


@dataclass(frozen=True)
class _Lesson:
    """One encoded window, its labels, and what the previous model says of it."""

    encoded: Encoded
    labels: Tensor
    before: Tensor


class _Objective:
    """The loss of one step: one corrected window and one of replay. It freezes all of the network but the decoder."""

    def __init__(
        self,
        network: SegmentationNetwork,
        corrected: list[tuple[Encoded, CorrectedWindow]],
        practice: list[tuple[Encoded, Window]],
        base: Model,
        config: LearnConfig,
    ) -> None:
        network.requires_grad_(False)
        self.trained = dict(network.decoder_parameters())
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.network, self.config = network, config
        self.device = next(iter(self.trained.values())).device
        self.base = {name: base.weights[name].to(self.device) for name in self.trained}
        corrected = [(encoded, window) for encoded, window in corrected if (window.learn != UNDECIDED).any()]
        shares = np.array([window.weight for _, window in corrected])
        self.shares = shares / shares.sum()
        self.corrected = [self._lesson(encoded, window.learn) for encoded, window in corrected]
        self.trusted = [away_from(self._tensor((w.learn != UNDECIDED) | (w.held_out != UNDECIDED)), config.reach) for _, w in corrected]
        self.practice = [self._lesson(encoded, labels) for encoded, (_, labels) in practice]

    def _lesson(self, encoded: Encoded, labels: npt.NDArray[np.uint8]) -> _Lesson:
        return _Lesson(encoded, self._tensor(labels), self._tensor(encoded.probability(self.network)))

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)[None]

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Draw the windows of `step` and return their loss."""
        assert network is self.network
        rng, config = np.random.default_rng((self.config.seed, step)), self.config
        index = rng.choice(len(self.corrected), p=self.shares)
        here, there = self.corrected[index], self.practice[rng.integers(len(self.practice))]
        logits, practised = (one.encoded.logits(self.network) for one in (here, there))
        pull = torch.stack([((p - self.base[name]) ** 2).sum() for name, p in self.trained.items()]).sum()
        return (
            partial_ce_dice(logits, here.labels, class_balance(here.labels))
            + config.trust * trust_region(log_odds(logits), here.before, self.trusted[index])
            + config.replay * partial_ce_dice(practised, there.labels)
            + config.distillation * distillation(log_odds(practised), there.before, there.labels)
            + config.l2sp * pull
        )
