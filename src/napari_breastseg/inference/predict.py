"""Predict one case: coarse pass first, then refined windows, likely candidates first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Case, Prediction, slices
from napari_breastseg.inference.grids import Grid, Map, Region, plan_grids
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import blend
from napari_breastseg.methods.model import Model
from napari_breastseg.preprocess.resample import resample
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software

SMALLEST_ML = 0.015
"""Components smaller than this are dropped from the masks: half of a sphere of 4 mm, the smallest tumour in training."""
SMALLEST_SHARE = 0.001
"""Part of a single slice, whose scale may be unknown, below which components are dropped: a third of the smallest mask in BUSI."""


@dataclass(frozen=True)
class Preview:
    """A part of a prediction that can be shown already.

    Attributes
    ----------
    kind : str
        "coarse" or "refined".
    box : Box
        Where it belongs on the case's grid.
    probability : ndarray, float32
        Probability of tumour in the box.
    """

    kind: Literal["coarse", "refined"]
    box: Box
    probability: Map


def predict(
    case: Case, model: Model, *, device: str = "auto", region: Region = "breast", threshold: float | None = None
) -> Job[Prediction]:
    """Predict where the tumour is; yields a :class:`Preview` as the payload of the Progress as soon as there is something to see.

    Parameters
    ----------
    case : Case
    model : Model
    device : str
        "auto", "cpu", "cuda" or "mps".
    region : str
        "breast" places windows in one box per breast, "full" in the whole field of view.
    threshold : float, optional
        Probability from which a voxel is tumour; the model card's, else 0.5.

    Raises
    ------
    InputError
        If the case lacks a phase that the model needs, is of another modality, or is constant.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    started = time.perf_counter()
    cut = float(model.card.get("threshold", 0.5)) if threshold is None else threshold
    yield Progress(0, 1, "Preparing the images")
    plan, place = plan_grids(case, model.preset, region)
    runner = Runner(model, device)
    coarse = np.zeros(case.shape, np.float32)
    fine = np.zeros(case.shape, np.float32)
    grids = [_Pass(grid, model) for grid in plan]
    total = 1 + sum(len(grid.windows) for grid in plan)
    for grid in grids:
        part = grid.half_resolution(runner)
        _keep(coarse, grid.box, part)
        yield Progress(1, total, "Coarse pass", Preview("coarse", grid.box, part))
    done = 1
    for grid in sorted(grids, key=lambda g: -float(g.guide.max())):
        for box in grid.refine(runner):
            done += 1
            yield Progress(done, total, "Refining", Preview("refined", box, grid.part(box)))
        _keep(fine, grid.box, grid.probability())
    coarse *= place.inside
    fine *= place.inside
    details = {
        "device": runner.device.type,
        "engine": runner.engine_name,
        "seconds": round(time.perf_counter() - started, 2),
        "windows": total - 1,
        "region": region,
        "threshold": cut,
        "memory_steps": runner.steps,
        "seed": None,  # nothing is drawn at random
        "software": software(),
    }
    volume = case.geometry.voxel_ml
    return Prediction(model.sha, fine, clean_mask(coarse > cut, volume), clean_mask(fine > cut, volume), details=details)


def clean_mask(mask: npt.NDArray[np.bool_], voxel_ml: float) -> npt.NDArray[np.uint8]:
    """Drop connected components (26 neighbours) smaller than `SMALLEST_ML`, or than `SMALLEST_SHARE` of a single slice."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes >= SMALLEST_SHARE * mask.size if mask.shape[0] == 1 else sizes * voxel_ml >= SMALLEST_ML
    keep[0] = False
    cleaned: npt.NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return cleaned


def _keep(target: Map, box: Box, part: Map) -> None:
    """Merge `part` where boxes overlap: the larger probability stands."""
    window = target[slices(box)]
    np.maximum(window, part, out=window)


class _Pass:
    """The coarse and the refined pass over one grid, with one accumulator."""

    def __init__(self, grid: Grid, model: Model) -> None:
        self.grid, self.patch = grid, model.preset.patch
        self.guide: Map = np.zeros(grid.shape, np.float32)
        self.sum: Map = np.zeros(grid.shape, np.float32)
        self.weight: Map = np.zeros(grid.shape, np.float32)

    @property
    def box(self) -> Box:
        return self.grid.box

    def half_resolution(self, runner: Runner) -> Map:
        """Run at twice the spacing; return the probability on the case's grid and keep it as the guide of the refined pass."""
        half = self.grid.halved(self.patch)
        total, weight = np.zeros(half.shape, np.float32), np.zeros(half.shape, np.float32)
        for window in half.windows:
            blend(total, weight, window, runner.probability(half.window(window)))
        coarse: Map = total / weight
        self.guide = resample(coarse[None], self.grid.shape)[0]
        return half.to_case(coarse)

    def refine(self, runner: Runner) -> Iterator[Box]:
        """Run the windows, those with the likeliest candidates first; yield the box of the case that each one covers."""
        for window in sorted(self.grid.windows, key=lambda w: -float(self.guide[slices(w)].max())):
            blend(self.sum, self.weight, window, runner.probability(self.grid.window(window)))
            yield self.grid.on_case(window)

    def probability(self) -> Map:
        """Blended probability so far, on the grid of the case; the guide stands where no window has been."""
        return self.grid.to_case(np.where(self.weight > 0, self.sum / np.maximum(self.weight, 1e-6), self.guide))

    def part(self, box: Box) -> Map:
        """The blended probability within `box` of the case."""
        z, y, x = (slice(low - origin, high - origin) for (low, high), (origin, _) in zip(box, self.box, strict=True))
        return self.probability()[z, y, x]
