"""A stand-in for the learner: each candidate is one step more skilled, and the gate lets all pass but the third."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.from_corrections import LearnResult
from napari_breastseg.training.gate import Decision

learned_from: list[list[str]] = []
seeds: list[int] = []


def load_model(path: Path | str) -> Model:
    """Load any weights, of whatever network."""
    content, card = Path(path).read_bytes(), json.loads(Path(path).with_suffix(".json").read_text())
    return Model(get_preset(card["preset"]), safetensors.torch.load(content), card, hashlib.sha256(content).hexdigest(), Path(path))


def learn(model: Path, corrections: list[Any], config: Any, folder: Path, **_: Any) -> Job[LearnResult]:
    yield Progress(0, 1, "learning")
    parent = load_model(model)
    skill = parent.card.get("skill", 0) + 1
    learned_from.append([one.name for one in corrections])
    seeds.append(config.seed)
    path = save_model({"weight": torch.full((2,), float(skill))}, dict(parent.card) | {"parent": parent.sha, "skill": skill}, folder)
    return LearnResult(path, Decision(skill != 3, ("as told",), {}), 0.5)
