"""Stand-ins for the learner, run in a child process by the tests."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_breastseg.methods.model import load_model, save_model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.from_corrections import LearnResult
from napari_breastseg.training.gate import Decision


def _candidate(model: Path, folder: Path) -> Path:
    parent = load_model(model)
    weights = {key: value + torch.rand(()) * 1e-3 for key, value in parent.weights.items()}
    return save_model(weights, dict(parent.card) | {"parent": parent.sha, "learning": {}}, folder)


def _learn(model: Path, corrections: list[Any], folder: Path, adopted: bool) -> Job[LearnResult]:
    yield Progress(1, 2, "learning")
    seen = {
        one.name: {
            "images": list(np.load(one.images, mmap_mode="r").shape),
            "learn": [int((np.load(one.learn) == value).sum()) for value in (0, 1)],
            "held_out": [int((np.load(one.held_out) == value).sum()) for value in (0, 1)],
            "rounds_ago": one.rounds_ago,
        }
        for one in corrections
    }
    path = _candidate(model, folder)
    return LearnResult(path, Decision(adopted, ("a reason",), json.loads(json.dumps({"seen": seen}))), 0.5)


def adopt(
    model: Path, base: Path, corrections: list[Any], config: Any, folder: Path, device: str, start: Path, cache: Path
) -> Job[LearnResult]:
    return (yield from _learn(model, corrections, folder, True))


def refuse(
    model: Path, base: Path, corrections: list[Any], config: Any, folder: Path, device: str, start: Path, cache: Path
) -> Job[LearnResult]:
    return (yield from _learn(model, corrections, folder, False))


def killed(
    model: Path, base: Path, corrections: list[Any], config: Any, folder: Path, device: str, start: Path, cache: Path
) -> Job[LearnResult]:
    yield Progress(1, 2, "learning")
    _candidate(model, folder)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def endless(
    model: Path, base: Path, corrections: list[Any], config: Any, folder: Path, device: str, start: Path, cache: Path
) -> Job[LearnResult]:
    yield Progress(1, 2, "learning")
    while True:
        time.sleep(0.1)
