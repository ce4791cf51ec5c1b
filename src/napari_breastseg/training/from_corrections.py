"""One learning round: fine-tune a model on a person's sparse corrections without letting it forget, and judge the candidate.

On a CPU, or with few cases, the encoder rests and every window is encoded once, so a step costs a small part of a full one. Windows are as
small as in training. Blends of candidate and parent are tried (Wortsman et al. 2022): the strongest one that passes the gate is proposed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference.devices import out_of_memory, pick_device
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.software import software
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import CorrectedWindow, Correction, Labels, load_windows, mirror
from napari_breastseg.training.encoded import Encoder, Plain, Source, prune
from napari_breastseg.training.examiner import Examiner
from napari_breastseg.training.gate import Decision, Score, judge
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.objective import Objective, trains
from napari_breastseg.training.parts import RATES, Rung, choose, ladder, trained_parameters
from napari_breastseg.training.replay import (
    EXAM_SEEDS,
    PRACTICE_SEEDS,
    Window,
    cache_folder,
    exam_windows,
    practice_windows,
    replay_volumes,
)

BLENDS = (1.0, 0.75, 0.5, 0.35, 0.2, 0.1)
"""Shares of the way from the parent to the fine-tuned weights that are offered to the gate."""
SAVE_EVERY = 20
"""Steps between two states on disk, from which a killed round goes on."""
MOST_WINDOWS = 96
"""Corrected windows that a round looks at, at most half of them tests; those of the cases corrected longest ago are left out first.
Mirror images come on top."""


@dataclass(frozen=True)
class LearnResult:
    """A candidate and what the gate says of it.

    Attributes
    ----------
    weights : Path
        safetensors, with its card beside it.
    decision : Decision
    seconds : float
    left_out : tuple of str
        Names of the corrections that the model cannot read, about which the reasons say why.
    """

    weights: Path
    decision: Decision
    seconds: float
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Material:
    """The windows of a round, as images, and why some cases have none.

    Training windows of images are there mirrored, too: a lesion may as well lie on the other side.
    """

    corrected: list[CorrectedWindow]
    mirrored: list[CorrectedWindow]
    practice: list[Window]
    exam: list[list[Window]]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Sources:
    """The same, as the network takes them."""

    corrected: list[tuple[Source, CorrectedWindow]]
    mirrored: list[tuple[Source, CorrectedWindow]]
    practice: list[tuple[Source, Labels]]
    exam: list[list[tuple[Source, Window]]]


def learn(
    model: Path, base: Path, corrections: Sequence[Correction], config: LearnConfig, folder: Path, device: str = "auto",
    start: Path | None = None, cache: Path | None = None,
) -> Job[LearnResult]:  # fmt: skip
    """Fine-tune a model and return the candidate with the gate's decision; all arguments can be sent to another process.

    Where memory does not suffice, less learns, or on the CPU; the card says what was given up.

    Parameters
    ----------
    model, base : Path
        Weights of the model in use, which a candidate must beat, and of the one that the lineage began with.
    corrections : sequence of Correction
    config : LearnConfig
    folder : Path
        Receives the state of the round every :data:`SAVE_EVERY` steps, from which the same call goes on after a kill, to the same weights;
        then the candidate.
    device : str
    start : Path, optional
        Weights to start from; the model in use if not given.
    cache : Path, optional
        Folder in which the encoded windows of corrected cases are kept for later rounds.

    Raises
    ------
    InputError
        If nothing is annotated to train on, or the device is missing.
    ComputeError
        If memory does not suffice for the least.
    """
    started = time.perf_counter()
    parent, origin = load_model(model), load_model(base)
    first = parent if start is None else load_model(start)
    yield Progress(0, 1, "Reading the corrections")
    material = yield from _material(parent, corrections, config)
    given_up: list[str] = []
    for rung in ladder(choose(config.trained, pick_device(device), len(corrections)), pick_device(device)):
        if rung.said:
            given_up.append(f"Memory did not suffice: {rung.said}.")
            yield Progress(0, 1, given_up[-1])
        try:
            candidate, decision, curve = yield from _attempt(rung, parent, origin, first, material, config, folder, cache)
            break
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
    else:
        raise ComputeError("There is too little memory to learn. Close other programs and try again.")
    left_out = [f"{name} was left out: {why}" for name, why in material.left_out.items()]
    decision = replace(decision, reasons=(*decision.reasons, *left_out))
    card = {key: value for key, value in parent.card.items() if key not in ("notes", "training")} | {
        "parent": parent.sha,
        "base": origin.sha,
        "started_from": first.sha,
        "trained_on": f"{origin.card.get('trained_on', 'unknown')}; then corrections on {len(corrections) - len(left_out)} case(s)",
        "learning": asdict(config),
        "trained": rung.trained,
        "memory_steps": given_up,
        "loss": curve,
        "metrics": dict(decision.figures),
        "device": rung.device.type,
        "threads": torch.get_num_threads(),
        "deterministic": rung.device.type == "cpu",  # on CUDA some backward passes add up in any order
        "software": software(),
    }
    path = save_model(candidate, card, folder)
    return LearnResult(path, decision, time.perf_counter() - started, tuple(material.left_out))


def _material(parent: Model, corrections: Sequence[Correction], config: LearnConfig) -> Job[_Material]:
    preset = parent.preset
    windows: list[CorrectedWindow] = []
    left_out: dict[str, str] = {}
    for number, one in enumerate(corrections):
        yield Progress(number, len(corrections), "Reading the corrections")
        try:
            windows += load_windows(one, preset)
        except InputError as error:  # a case that this model cannot read must not keep it from learning from the others
            left_out[one.name] = str(error)
    if left_out and len(left_out) == len(corrections):
        raise InputError(next(iter(left_out.values())))
    if not any((window.learn != UNDECIDED).any() for window in windows):
        raise InputError("There are no corrections to learn from in the breasts. Paint or erase a few places first.")
    if not any(trains(window, config) for window in windows):
        raise InputError("Nothing was corrected since the last round but what is kept back as a test. Correct more, then learn again.")
    practice = practice_windows((yield from replay_volumes(preset, PRACTICE_SEEDS)), preset.patch)
    exam = exam_windows((yield from replay_volumes(preset, EXAM_SEEDS)), preset.patch)
    chosen = latest(windows, MOST_WINDOWS)
    mirrored = [mirror(window) for window in chosen if preset.flat and trains(window, config)]
    return _Material(chosen, mirrored, practice, exam, left_out)


def latest(windows: Sequence[CorrectedWindow], most: int) -> list[CorrectedWindow]:
    """Return at most so many windows, tests first, then those that train by the rounds that learned from them.

    At most half are tests. What was corrected last stays.

    Parameters
    ----------
    windows : sequence of CorrectedWindow
        In the order in which their cases were first corrected.
    most : int
    """
    tests = [window for window in windows if not window.weight][-(most // 2) :]
    train = sorted((window for window in reversed(windows) if window.weight), key=lambda window: window.rounds_ago)[: most - len(tests)]
    return tests + sorted(reversed(train), key=lambda window: window.rounds_ago)


def _attempt(
    rung: Rung, parent: Model, origin: Model, first: Model, material: _Material, config: LearnConfig, folder: Path, cache: Path | None
) -> Job[tuple[Weights, Decision, list[float]]]:
    """Learn and judge in the way of one rung of the ladder."""
    network = first.network(rung.device)
    sources = yield from _sources(rung, network, material, config, cache)
    examiner = Examiner(network, sources.corrected, sources.exam, parent.threshold)
    yield Progress(0, 1, "Measuring the model in use")
    before = examiner.score(parent.weights)
    at_base = before if origin.sha == parent.sha else examiner.score(origin.weights)
    network.load_state_dict(dict(first.weights))
    trained = trained_parameters(network, rung.trained)
    objective = Objective(network, sources.corrected + sources.mirrored, sources.practice, origin.weights, trained, config)
    rate = config.learning_rate * RATES[rung.trained] * parent.preset.pace
    fit_config = FitConfig(config.steps, rate, weight_decay=0.0, ema=config.ema, save_every=SAVE_EVERY, seed=config.seed)
    state = folder / f"{rung.trained}-{rung.device.type}.state"
    curve: list[float] = []

    def noted(step: Progress) -> Progress:
        if step.payload is None:
            return step
        curve.append(round(float(step.payload["loss"]), 5))
        return replace(step, payload={"stage": "train", **step.payload})

    weights = yield from retold(fit(network, objective.loss, fit_config, state, trained.values()), noted)
    if not config.gate:
        score = examiner.score(weights)
        return weights, _unjudged(score, before, at_base), curve
    return *(yield from _strongest(examiner, parent.weights, weights, before, at_base)), curve


def _sources(rung: Rung, network: Any, material: _Material, config: LearnConfig, cache: Path | None) -> Job[_Sources]:
    """Encode what need not be encoded again; keep images where the encoder learns."""
    own = Encoder(network, rung.device, rung.hold, cache)
    shipped = Encoder(network, rung.device, rung.hold, cache_folder() / "encoded")
    practice = material.practice if config.replay or config.distillation else []
    total = len(material.corrected) + len(material.mirrored) + len(practice) + sum(map(len, material.exam))
    done = 0

    def source(encoder: Encoder, image: Any) -> Job[Source]:
        nonlocal done
        done += 1
        yield Progress(done, total, "Looking at the corrected and the replay cases")
        return Plain(image, rung.device) if rung.trained == "all" else encoder(image)

    sources = _Sources([], [], [], [])
    for windows, found in ((material.corrected, sources.corrected), (material.mirrored, sources.mirrored)):
        for window in windows:
            found.append(((yield from source(own, window.image)), window))
    for image, labels in practice:
        sources.practice.append(((yield from source(shipped, image)), labels))
    for exam in material.exam:
        sources.exam.append([])
        for one in exam:
            sources.exam[-1].append(((yield from source(shipped, one[0])), one))
    for encoder in (own, shipped):
        if encoder.folder is not None:
            prune(encoder.folder)
    return sources


def _strongest(
    examiner: Examiner, parent: Mapping[str, Tensor], learned: Weights, before: Score, at_base: Score
) -> Job[tuple[Weights, Decision]]:
    """Return the strongest blend that passes the gate, or else all that was learned with the reasons against it."""
    refused: tuple[Weights, Decision] | None = None
    against: dict[str, list[str]] = {}
    for number, share in enumerate(BLENDS):
        blend = {key: torch.lerp(old, learned[key].to(old), share) for key, old in parent.items()}
        judged = judge(examiner.score(blend), before, at_base)
        decision = Decision(judged.adopted, judged.reasons, {**judged.figures, "blend": share, "against_more": against})
        payload = {"stage": "judge", "adopted": decision.adopted, "reasons": list(decision.reasons), "figures": dict(decision.figures)}
        yield Progress(number + 1, len(BLENDS), f"Judging the candidate, {share:.0%} of what was learned", payload=payload)
        if decision.adopted:
            return blend, decision
        against = {**against, f"{share:.0%}": list(decision.reasons)}
        refused = refused or (blend, decision)
    assert refused is not None
    return refused


def _unjudged(score: Score, before: Score, at_base: Score) -> Decision:
    figures = {"candidate": score.as_dict(), "parent": before.as_dict(), "base": at_base.as_dict(), "blend": 1.0}
    return Decision(score.finite, ("the gate was switched off",), figures)
