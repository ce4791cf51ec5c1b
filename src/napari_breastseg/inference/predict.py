"""Predict one case: coarse pass first, then refined windows, likely candidates first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Case, Prediction, box_around, slices
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference.background import patiently
from napari_breastseg.inference.devices import out_of_memory
from napari_breastseg.inference.grids import Grid, Plan, Region, make_plan
from napari_breastseg.inference.memory import bytes_for_arrays, bytes_for_windows, free_memory, in_words
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.sweep import PLAIN, Flip, flips_of, sweep
from napari_breastseg.inference.uncertainty import UNCERTAINTY, entropy_of
from napari_breastseg.inference.windows import Blending, Canvas, Map
from napari_breastseg.kinetics.timing import timing_of
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
    case: Case, model: Model, *, device: str = "auto", region: Region = "breast", threshold: float | None = None, mirror: bool = False,
    overlap: float | None = None, blending: Blending = "gaussian", batch: int | None = None,
) -> Job[Prediction]:  # fmt: skip
    """Predict where the tumour is; yields a :class:`Preview` as the payload of the Progress as soon as there is something to see.

    No more of the case is in memory than a slab of one phase, whatever its size. Who closes the generator does not wait for what is at
    work.

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
    mirror : bool
        Take the mean over all mirror images of each window, eight times the work for a volume, and add the map of its entropy.
    overlap : float, optional
        Smallest share of a window that its neighbour repeats; the method's if not given.
    blending : str
        How overlapping windows are blended: "gaussian" or "linear".
    batch : int, optional
        Windows at a time; what suits the device if not given.

    Raises
    ------
    InputError
        If the case lacks a phase that the model needs, is of another modality, is constant, or holds voxels that are no numbers; or if
        `overlap` or `batch` is impossible.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    if (overlap is not None and not 0 <= overlap < 1) or (batch is not None and batch < 1):
        raise InputError("The overlap must be at least 0 and below 1, and at least one window runs at a time. Correct these numbers.")
    try:
        started = time.perf_counter()
        cut = model.threshold if threshold is None else threshold
        first = Progress(0, 1, "Preparing the images")
        yield first
        plan = yield from patiently(partial(make_plan, case, model.preset, region, overlap=overlap), first)
        runner = yield from patiently(partial(Runner, model, device, batch), first)
        return (yield from _Work(plan, runner, blending, cut, started, region).predict(mirror))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ComputeError(
            f"Memory ran out while {case.name} was predicted. Close other programs, or predict it on a larger computer."
        ) from error


def clean_mask(mask: npt.NDArray[np.bool_], voxel_ml: float) -> npt.NDArray[np.uint8]:
    """Drop connected components (26 neighbours) smaller than `SMALLEST_ML`, or than `SMALLEST_SHARE` of a single slice."""
    cleaned = np.zeros(mask.shape, np.uint8)
    box = box_around(mask)
    if box is None:
        return cleaned
    labels, count = ndimage.label(mask[slices(box)], np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes >= SMALLEST_SHARE * mask.size if mask.shape[0] == 1 else sizes * voxel_ml >= SMALLEST_ML
    keep[0] = False
    cleaned[slices(box)] = keep[labels]
    return cleaned


class _Work:
    """A prediction in the making."""

    def __init__(self, plan: Plan, runner: Runner, blending: Blending, cut: float, started: float, region: Region) -> None:
        self._plan, self._runner, self._blending, self._cut, self._started = plan, runner, blending, cut, started
        self._region = region
        self._windows = sum(len(plan.windows(box)) for box in plan.region.boxes)
        self._coarse = np.zeros(plan.case.shape, np.uint8)

    def predict(self, mirror: bool) -> Job[Prediction]:
        """Go the whole way."""
        needed, free = _make_room(self._plan, self._runner, mirror)
        reading = self._at(0, f"Reading the images; {in_words(needed)} of memory needed, {in_words(free)} free")
        yield reading
        passes: list[_Pass] = []
        for box in self._plan.region.boxes:
            grid = yield from patiently(partial(self._plan.read, box), reading)
            passes.append((yield from self._from_afar(grid, len(passes))))
        yield from self._closer(passes, flips_of(self._plan.case.shape) if mirror else PLAIN)
        end = self._at(len(passes) + self._windows, "Finishing")
        return (yield from patiently(lambda: self._prediction(passes, mirror, needed), end))

    def _from_afar(self, grid: Grid, seen: int) -> Job[_Pass]:
        """Take the coarse prediction of a box, after so many others: the method's own, or what it says at half resolution."""
        own = self._runner.network.own_coarse
        afar = grid if own else grid.halved(self._runner.model.preset.patch)
        canvas = Canvas(afar.shape, afar.windows, self._blending)
        look = self._runner.first_probability if own else None
        for _ in sweep(self._runner, [(afar, canvas, window) for window in afar.windows], look=look):
            yield self._at(seen, "Coarse pass")
        coarse = canvas.mean()
        shown = self._on_case(afar, coarse)
        _keep(self._coarse, grid.box, shown > self._cut)
        yield self._at(seen + 1, "Coarse pass", Preview("coarse", grid.box, shown))
        return _Pass(grid, Canvas(grid.shape, grid.windows, self._blending), resample(coarse[None], grid.shape)[0])

    def _closer(self, passes: Sequence[_Pass], flips: Sequence[Flip]) -> Job[None]:
        """Run the windows of all boxes, those first in which the coarse pass sees the likeliest candidates."""
        by_canvas = {id(one.canvas): one for one in passes}
        order = [(one, window) for one in passes for window in one.grid.windows]
        order.sort(key=lambda work: -float(work[0].now[slices(work[1])].max()))
        done = 0
        for batch in sweep(self._runner, [(one.grid, one.canvas, window) for one, window in order], flips):
            done += len(batch)
            step, message = len(passes) + done, f"Refining, {done} of {self._windows} windows done"
            for grid, canvas, window in batch:
                one, box = by_canvas[id(canvas)], grid.on_case(window)
                one.now[slices(window)] = canvas.mean_in(slices(window), one.now)
                yield self._at(step, message, Preview("refined", box, self._on_case(grid, one.now, box)))
            if not batch:
                yield self._at(step, message)

    def _on_case(self, grid: Grid, values: Map, part: Box | None = None) -> Map:
        """Bring values on a grid to the case's voxels, 0 behind the chest wall."""
        found: Map = grid.to_case(values, part) * self._plan.region.inside[slices(part or grid.box)[1:]]
        return found

    def _at(self, step: int, message: str, payload: Preview | None = None) -> Progress:
        said = ". ".join([message, *self._runner.steps[-1:]])  # of what had to be given up the last tells most
        return Progress(step, len(self._plan.region.boxes) + self._windows, said, payload)

    def _prediction(self, passes: Sequence[_Pass], mirror: bool, needed: int) -> Prediction:
        case, runner = self._plan.case, self._runner
        probability = np.zeros(case.shape, np.float32)
        for one in passes:
            _keep(probability, one.grid.box, self._on_case(one.grid, one.now))
        maps = {UNCERTAINTY: entropy_of(probability)} if mirror else {}
        refined, coarse = (clean_mask(mask, case.geometry.voxel_ml) for mask in (probability > self._cut, self._coarse > 0))
        details = {
            "device": runner.device.type,
            "engine": runner.engine_name,
            "precision": str(runner.precision).removeprefix("torch."),
            "seconds": round(time.perf_counter() - self._started, 2),
            "windows": self._windows,
            "region": self._region,
            "threshold": self._cut,
            "mirror": mirror,
            "times_assumed": list(timing_of(case).notes) if any(one.grid.clock for one in passes) else [],
            "memory_needed": needed,
            "memory_steps": runner.steps,
            "seed": None,  # nothing is drawn at random
            "software": software(),
        }
        return Prediction(runner.model.sha, probability, coarse, refined, maps=maps, details=details)


@dataclass(frozen=True)
class _Pass:
    """The refined pass over one grid: what is added up, and the probability as it stands `now`, which begins as the coarse one."""

    grid: Grid
    canvas: Canvas
    now: Map


def _keep(target: npt.NDArray[Any], box: Box, part: npt.NDArray[Any]) -> None:
    """Merge `part` where boxes overlap: the larger value stands."""
    window = target[slices(box)]
    np.maximum(window, part, out=window)


def _make_room(plan: Plan, runner: Runner, mirror: bool) -> tuple[int, int]:
    """Begin on the rung of the memory ladder on which the work should fit; return the bytes that it needs and those that are free.

    Raises
    ------
    ComputeError
        If there is no such rung.
    """
    while True:
        free, needed = free_memory(runner.device), bytes_for_windows(plan, runner.edge, runner.batch)
        if runner.device.type != "cuda":  # which has a memory of its own
            needed += bytes_for_arrays(plan, mirror)
        if needed <= free:
            return needed, free
        if not runner.step_down():
            raise ComputeError(
                f"{plan.case.name} needs about {in_words(needed)} of memory and {in_words(free)} are free. "
                "Close other programs, or predict it on a larger computer."
            )
