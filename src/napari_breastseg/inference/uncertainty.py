"""How unsure a model is: entropy of the mean of what it says of a case and of its mirror images.

With p the mean probability over the flips, H = -p ln p - (1 - p) ln(1 - p), in nats: 0 where the model is sure, ln 2 = 0.69 at p = 0.5.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from napari_breastseg.case import Case, slices
from napari_breastseg.inference.grids import Grid, Region, make_plan
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.sweep import PLAIN, Flip, flips_of, sweep
from napari_breastseg.inference.windows import Canvas, Map
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import Job, Progress

UNCERTAINTY = "uncertainty"
"""Name of the map."""
POSSIBLE = 0.05
"""Probability from which a voxel may be tumour."""
LIKELIEST_ML = 0.1
"""The likeliest voxels of this volume always count: a faint tumour must not vanish because nothing is possible."""
UNSURE = float(entr(0.2) + entr(0.8))
"""Entropy from which the model is unsure of a voxel: probability from 0.2 to 0.8."""


@dataclass(frozen=True)
class Uncertainty:
    """How unsure a model is of one case.

    Attributes
    ----------
    entropy : ndarray, shape (z, y, x), float32
        H in nats on the case's grid; 0 where the model does not look.
    probability : ndarray, shape (z, y, x), float32
        Mean over the flips.
    relative : float
        Nats per voxel of expected tumour, sum of H / sum of p where there may be tumour: in the voxels of a probability above
        :data:`POSSIBLE`, and in the likeliest :data:`LIKELIEST_ML` at least. A small tumour weighs as much as a large one, and a tumour
        that is seen faintly, or hardly at all, weighs more than the border of one that is seen well.
    unsure_ml : float
        Volume in which H is at least :data:`UNSURE`.
    details : mapping
        JSON-ready: device, seconds, flips, region, whether at half resolution, memory-ladder steps.
    """

    entropy: Map
    probability: Map
    relative: float
    unsure_ml: float
    details: Mapping[str, Any]


def uncertainty(case: Case, model: Model, *, device: str = "auto", region: Region = "breast", coarse: bool = False) -> Job[Uncertainty]:
    """Predict a case in every mirror image and say where the answers are unsure: about eight times the work of a prediction.

    Parameters
    ----------
    case : Case
    model : Model
    device : str
        "auto", "cpu", "cuda" or "mps".
    region : str
        "breast" looks at one box per breast, "full" at the whole field of view.
    coarse : bool
        At half resolution, an eighth of the work; the maps are on the case's grid all the same.

    Raises
    ------
    InputError
        If the case lacks a phase that the model needs or is of another modality.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    started = time.perf_counter()
    yield Progress(0, 1, "Preparing the images")
    plan = make_plan(case, model.preset, region)
    grids = list(plan.grids())
    if coarse:
        grids = [grid.halved(model.preset.patch) for grid in grids]
    runner, flips = Runner(model, device), flips_of(case.shape)
    probability = (yield from mean_probability(case.shape, grids, runner, flips)) * plan.region.inside
    details = {
        "device": runner.device.type,
        "seconds": round(time.perf_counter() - started, 2),
        "flips": len(flips),
        "region": region,
        "coarse": coarse,
        "memory_steps": runner.steps,
    }
    entropy = entropy_of(probability)
    return Uncertainty(entropy, probability, *summary(probability, entropy, case.geometry.voxel_ml), details)


def mean_probability(shape: tuple[int, int, int], grids: Sequence[Grid], runner: Runner, flips: Sequence[Flip] = PLAIN) -> Job[Map]:
    """Return the mean over the flips of the probability of tumour, on a case's grid of `shape`; each flip is undone after the network."""
    result = np.zeros(shape, np.float32)
    total, done = sum(len(grid.windows) for grid in grids), 0
    for grid in grids:
        canvas = Canvas(grid.shape, grid.windows)
        for batch in sweep(runner, [(grid, canvas, window) for window in grid.windows], flips):
            done += len(batch)
            yield Progress(done, total, "Looking at mirror images")
        part = result[slices(grid.box)]
        np.maximum(part, grid.to_case(canvas.mean()), out=part)  # where boxes overlap the larger stands, as in a prediction
    result.clip(0, 1, out=result)  # a weighted mean of ones may be rounded up
    return result


def entropy_of(probability: Map) -> Map:
    """Return -p ln p - (1 - p) ln(1 - p), nats."""
    result: Map = entr(probability) + entr(1 - probability)
    return result


def summary(probability: Map, entropy: Map, voxel_ml: float) -> tuple[float, float]:
    """Return the entropy per voxel of expected tumour, and the volume in mL of which the model is unsure; see :class:`Uncertainty`."""
    likely, unsure = probability.ravel(), entropy.ravel()
    least = min(likely.size, max(1, round(LIKELIEST_ML / voxel_ml)))
    cut = min(POSSIBLE, float(np.partition(likely, -least)[-least]))
    there = likely >= cut
    expected = max(float(likely[there].sum(dtype=np.float64)), float(np.finfo(np.float32).tiny))
    return float(unsure[there].sum(dtype=np.float64)) / expected, float(np.count_nonzero(unsure >= UNSURE) * voxel_ml)
