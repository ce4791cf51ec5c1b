"""One learning round: fine-tune a model on a person's sparse corrections without letting it forget, and judge the candidate.

Sparse loss on the corrected voxels, a trust region to the previous model away from them, replay of phantoms, L2-SP to the base model
(Li et al. 2018) and an averaged candidate. Four blends of candidate and parent are tried (Wortsman et al. 2022): the strongest one
that passes the gate is proposed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool3d

from napari_breastseg.case import TUMOUR, UNDECIDED
from napari_breastseg.errors import InputError
from napari_breastseg.inference.runner import Runner
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.corrections import HELD_OUT, CorrectedVolume, Correction, balanced_accuracy, load_correction
from napari_breastseg.training.gate import Decision, Score, judge
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.replay import EXAM_SEEDS, PRACTICE_SEEDS, exam_windows, replay_volumes
from napari_breastseg.training.sampling import Volume, draw_centre, draw_patch

BLENDS = (1.0, 0.6, 0.3, 0.15)
"""Shares of the way from the parent to the fine-tuned weights that are offered to the gate."""


@dataclass(frozen=True)
class LearnConfig:
    """Settings of :func:`learn`.

    Parameters
    ----------
    steps : int
    patch : int
        Edge of the patches, voxels of the working grid.
    scope : str
        What trains: "head" (norms and head), "decoder" (decoder and head) or "all".
    learning_rate : float
    trust, replay, l2sp : float
        Weights of the trust region, of the replay loss and of the pull to the base model.
    reach : int
        Voxels around a correction within which the previous model is no longer trusted.
    seed : int
    """

    steps: int = 40
    patch: int = 48
    scope: Literal["head", "decoder", "all"] = "decoder"
    learning_rate: float = 3e-3
    trust: float = 1.0
    replay: float = 1.0
    l2sp: float = 1e-3
    reach: int = 4
    seed: int = 0


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
        Receives the candidate and, while running, the state to resume from.
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
    corrected = [load_correction(one, preset) for one in corrections]
    if not any(one.components for one in corrected):
        raise InputError("There are no corrections to learn from. Paint or erase a few places first, on more than one slice.")
    practice = yield from replay_volumes(preset, PRACTICE_SEEDS)
    exam = yield from replay_volumes(preset, EXAM_SEEDS)
    runner = Runner(parent, device)
    examiner = _Examiner(corrected, exam, parent, runner)
    before = yield from examiner.score(dict(parent.weights), "Scoring the model in use")
    at_base = before
    if origin.sha != parent.sha:
        at_base = yield from examiner.score(dict(origin.weights), "Scoring the base model")
    network = parent.network(runner.device).train()
    trained = trainable(network, config.scope)
    batch = _Batch(corrected, practice, parent, origin, runner.device, config)
    fit_config = FitConfig(config.steps, config.learning_rate, weight_decay=0.0, ema=0.95, save_every=20, seed=config.seed)
    weights = yield from fit(network, batch.loss, fit_config, folder / "state.safetensors", trained)
    best, decision = dict(parent.weights), None
    for share in BLENDS:
        blend = {key: torch.lerp(old, weights[key].cpu(), share) for key, old in parent.weights.items()}
        score = yield from examiner.score(blend, "Judging the candidate")
        judged = judge(score, before, at_base)
        if decision is None or judged.adopted:
            best, decision = blend, Decision(judged.adopted, judged.reasons, {**judged.figures, "blend": share})
        if judged.adopted:
            break
    assert decision is not None
    card = dict(parent.card) | {
        "parent": parent.sha,
        "base": origin.sha,
        "trained_on": f"{parent.card.get('trained_on', 'unknown')}; then corrections on {len(corrections)} case(s)",
        "learning": asdict(config),
        "metrics": dict(decision.figures),
    }
    path = save_model(best, card, folder)
    return LearnResult(path, decision, time.perf_counter() - started)


def trainable(network: nn.Module, scope: Literal["head", "decoder", "all"]) -> list[nn.Parameter]:
    """Return the parameters of `scope` and freeze the others. Dropout is switched off: the few corrections are to be met exactly."""
    chosen: set[str] = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        wanted = scope == "all" or name == "head" or (scope == "decoder" and name.startswith("decoder"))
        if wanted or (scope == "head" and isinstance(module, (nn.InstanceNorm3d, nn.LayerNorm))):
            chosen |= {f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


class _Examiner:
    """Scores weights on the corrections and on the fixed replay windows."""

    def __init__(self, corrected: Sequence[CorrectedVolume], exam: list[Volume], parent: Model, runner: Runner) -> None:
        self.corrected, self.runner, self.patch = corrected, runner, parent.preset.patch
        self.windows = exam_windows(exam, self.patch[0])

    def score(self, weights: Weights, message: str) -> Job[Score]:
        """Score `weights`; the runner keeps them afterwards."""
        self.runner.network.load_state_dict(weights)
        total = 1 + len(self.windows)
        yield Progress(0, total, message)
        trained, held_out = balanced_accuracy(self.corrected, self.patch, self.runner.probability)
        replay = []
        for number, (image, labels) in enumerate(self.windows, 1):
            yield Progress(number, total, message)
            replay.append(_dice(self.runner.probability(image) > 0.5, labels == TUMOUR))
        return Score(held_out, trained, replay)


def _dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


class _Batch:
    """The loss of one step: corrections, trust region, replay and L2-SP."""

    def __init__(
        self,
        corrected: Sequence[CorrectedVolume],
        practice: list[Volume],
        parent: Model,
        base: Model,
        device: torch.device,
        config: LearnConfig,
    ) -> None:
        self.corrected = [one for one in corrected if one.components]
        shares = np.array([one.weight for one in self.corrected])
        self.shares = shares / shares.sum()
        self.practice, self.config, self.device = practice, config, device
        self.previous = parent.network(device).requires_grad_(False)
        self.base = {key: value.to(device) for key, value in base.weights.items()}

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Draw the batch of `step` (two corrected patches and one of replay) and return its loss."""
        rng = np.random.default_rng((self.config.seed, step))
        images, labels = [], []
        for _ in range(2):
            one = self.corrected[rng.choice(len(self.corrected), p=self.shares)]
            component = one.components[rng.integers(len(one.components))]
            image, label = draw_patch(rng, one.volume, component[rng.integers(len(component))], self.config.patch, sparse=True)
            images.append(image)
            labels.append(label)
        volume = self.practice[rng.integers(len(self.practice))]
        image, label = draw_patch(rng, volume, draw_centre(rng, volume, 0.6), self.config.patch)
        images.append(image)
        labels.append(label)
        x = torch.from_numpy(np.stack(images)).to(self.device)
        y = torch.from_numpy(np.stack(labels)).to(self.device)
        logits = network(x)
        pull = sum(((p - self.base[name]) ** 2).sum() for name, p in network.named_parameters() if p.requires_grad)
        return (
            self._sparse(logits[:2], y[:2])
            + self.config.trust * self._trust(logits[:2], x[:2], y[:2])
            + self.config.replay * partial_ce_dice(logits[2:], y[2:])
            + self.config.l2sp * pull
        )

    def _sparse(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss on the corrected voxels, tumour and background weighted alike."""
        known = torch.where(labels == HELD_OUT, UNDECIDED, labels)
        weight = torch.zeros(labels.shape, device=labels.device)
        for value in (0, 1):
            chosen = known == value
            weight[chosen] = 1.0 / max(int(chosen.sum()), 1)
        return partial_ce_dice(logits, known, weight * 1000)

    def _trust(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy to the previous model's probability away from every correction, held out or not."""
        with torch.no_grad():
            before = self.previous(images)
            target = torch.sigmoid(before[:, 1] - before[:, 0])
            reach = 2 * self.config.reach + 1
            near = max_pool3d((labels != UNDECIDED).float()[:, None], reach, 1, self.config.reach)[:, 0] > 0
            far = (~near).float()
        value = binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], target, reduction="none")
        return (far * value).sum() / far.sum().clamp(min=1)
