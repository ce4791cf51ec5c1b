"""Refine one prediction with the strokes on its case: the decoder learns from them for a moment, and the model stays as it is.

What a stroke says of one place holds for the tissue around it, so a tumour that was missed needs one stroke instead of one per slice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_breastseg.case import REFINED_WITH, TUMOUR, UNDECIDED, Box, Case, Geometry, Prediction, box_around, slices
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference.devices import out_of_memory, pick_device
from napari_breastseg.inference.grids import Grid, plan_grids
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.inference.windows import blend
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.software import software
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import CorrectedWindow, shown_by, sparse_labels
from napari_breastseg.training.encoded import Encoded, Encoder, probability, prune
from napari_breastseg.training.loop import FitConfig, fit
from napari_breastseg.training.objective import Objective
from napari_breastseg.training.parts import trained_parameters

GROWTH = 15.0
"""How far (mm) from painted tumour more of it may be found."""
SETTINGS = LearnConfig(steps=20, trained="decoder", replay=0.0, distillation=0.0, earlier=False, l2sp=0.0, ema=0.0)

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """One box of the case: its windows that matter, as the encoder left them, and the strokes in each."""

    grid: Grid
    windows: list[Box]
    encoded: list[Encoded]
    labels: Labels

    def corrected(self, name: str) -> list[tuple[Encoded, CorrectedWindow]]:
        """Return the windows with strokes, each drawn by the strokes that it shows well."""
        places = [slices(window) for window in self.windows]
        shares, nothing = shown_by(self.labels, places), np.full_like(self.labels, UNDECIDED)
        return [
            (source, CorrectedWindow(name, self.grid.window(window), self.labels[place], nothing[place], share, 0, False))
            for window, place, source, share in zip(self.windows, places, self.encoded, shares, strict=True)
            if share
        ]


def refine(
    case: Case, model: Model, before: Prediction, annotation: Labels, *, device: str = "auto", cache: Path | None = None
) -> Job[Prediction]:
    """Adapt the decoder to the strokes on a case, and predict again what they touch.

    A part of the mask that a stroke touches is predicted anew, and tumour is added within :data:`GROWTH` of painted tumour where it hangs
    together with it. All else stays as it was, and so does the model.

    Parameters
    ----------
    case : Case
    model : Model
        The one that made `before`.
    before : Prediction
        What the model said by itself.
    annotation : ndarray, shape (z, y, x), uint8
        The strokes: 0 or 1, 255 where nothing was said.
    device : str
        "auto", "cpu", "cuda" or "mps".
    cache : Path, optional
        Folder in which the windows are kept as the encoder leaves them, so that the next strokes take less time.

    Raises
    ------
    InputError
        If there are no strokes where the model looks, or the case lacks what the model needs.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    chosen = pick_device(device)
    try:
        return (yield from _refined(case, model, before, annotation, chosen, cache))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if chosen.type == "cpu":
            raise ComputeError("There is too little memory to refine. Close other programs and try again.") from error
    yield Progress(0, 1, f"The {chosen.type} device ran out of memory, so the CPU is used.")
    return (yield from refine(case, model, before, annotation, device="cpu", cache=cache))


def _refined(case: Case, model: Model, before: Prediction, annotation: Labels, device: torch.device, cache: Path | None) -> Job[Prediction]:
    started = time.perf_counter()
    cut = float(before.details.get("threshold", model.card.get("threshold", 0.5)))
    yield Progress(0, 1, "Looking at the strokes")
    old = np.asarray(before.refined) == TUMOUR
    touched = _touched(old | (annotation == TUMOUR), annotation != UNDECIDED)
    around = _grown(box_around(touched | (annotation != UNDECIDED)), case.geometry, case.shape)
    network = model.network(device)
    grids, place = plan_grids(case, model.preset, before.details.get("region", "breast"))
    parts = yield from _parts(grids, Encoder(network, device, device, cache), annotation, around)
    corrected = [window for part in parts for window in part.corrected(case.name)]
    if not corrected:
        raise InputError("There are no strokes in the breasts to refine with. Paint missing tumour or erase what is none first.")
    trained = trained_parameters(network, "decoder")
    objective = Objective(network, corrected, [], model.weights, trained, SETTINGS)
    config = FitConfig(SETTINGS.steps, SETTINGS.learning_rate, weight_decay=0.0, warm_up=3, ema=SETTINGS.ema, seed=SETTINGS.seed)
    adapted = yield from retold(fit(network, objective.loss, config, trained=trained.values()), _following)
    network.load_state_dict(adapted)
    if cache is not None:
        prune(cache)
    new = (yield from _decoded(case, network, parts)) * place.inside
    mask, where = merged(old, new > cut, touched, annotation, case.geometry)
    details = {
        **before.details,
        "device": device.type,
        "engine": "torch",
        "seconds": round(time.perf_counter() - started, 2),
        "windows": sum(len(part.windows) for part in parts),
        "seed": SETTINGS.seed,
        "software": software(),
        REFINED_WITH: {"voxels": int(np.count_nonzero(annotation != UNDECIDED)), "steps": SETTINGS.steps, "rate": SETTINGS.learning_rate},
    }
    probable = np.where(where, new, np.asarray(before.probability)).astype(np.float32)
    return replace(before, probability=probable, refined=clean_mask(mask, case.geometry.voxel_ml), maps={}, details=details)


def merged(old: Mask, new: Mask, touched: Mask, annotation: Labels, geometry: Geometry) -> tuple[Mask, Mask]:
    """Return the mask that follows from the one before and the adapted one, and where the adapted one was asked.

    Parameters
    ----------
    old, new : ndarray of bool, shape (z, y, x)
    touched : ndarray of bool, same shape
        The parts of `old` and of the painted tumour that a stroke touches.
    annotation : ndarray, same shape
    geometry : Geometry
    """
    painted = annotation == TUMOUR
    added = np.zeros_like(new)
    box = _grown(box_around(painted), geometry, new.shape) if painted.any() else None
    if box is not None:
        place = slices(box)
        near = ndimage.distance_transform_edt(~painted[place], sampling=geometry.spacing) <= GROWTH
        added[place] = _touched((new[place] & near) | painted[place], painted[place]) & new[place]
    where = touched | added
    return np.where(where, new, old), where


def _touched(mask: Mask, decided: Mask) -> Mask:
    """Return the connected parts (26 neighbours) of a mask in which something was decided."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    chosen = np.zeros(count + 1, bool)
    chosen[labels[decided & mask]] = True
    result: Mask = chosen[labels]
    return result


def _grown(box: Box | None, geometry: Geometry, shape: Sequence[int]) -> Box:
    """Return a box with a margin of :data:`GROWTH`, within the case."""
    if box is None:
        raise InputError("There are no strokes on this case yet. Paint missing tumour or erase what is none first.")
    reach = [math.ceil(GROWTH / step) for step in geometry.spacing]
    z, y, x = ((max(0, low - n), min(size, high + n)) for (low, high), n, size in zip(box, reach, shape, strict=True))
    return z, y, x


def _parts(grids: Sequence[Grid], encoder: Encoder, annotation: Labels, around: Box) -> Job[list[_Part]]:
    """Encode the windows that meet the box `around` the strokes."""
    chosen = [(grid, [window for window in grid.windows if _meet(grid.on_case(window), around)]) for grid in grids]
    total = sum(len(windows) for _, windows in chosen)
    parts: list[_Part] = []
    for grid, windows in chosen:
        encoded = []
        for window in windows:
            encoded.append(encoder(grid.window(window)))
            done = len(encoded) + sum(len(part.windows) for part in parts)
            yield Progress(done, total, "Looking at the images around the strokes")
        parts.append(_Part(grid, windows, encoded, sparse_labels(annotation[slices(grid.box)], grid.shape)))
    return parts


def _meet(one: Box, other: Box) -> bool:
    return all(max(low, start) < min(high, end) for (low, high), (start, end) in zip(one, other, strict=True))


def _following(step: Progress) -> Progress:
    return replace(step, message="Following your strokes")


def _decoded(case: Case, network: SegmentationNetwork, parts: Sequence[_Part]) -> Job[Map]:
    """Return what the adapted decoder says, on the case's grid; 0 where no window was looked at."""
    new, done = np.zeros(case.shape, np.float32), 0
    for part in parts:
        total, weight = np.zeros(part.grid.shape, np.float32), np.full(part.grid.shape, 1e-6, np.float32)
        for window, source in zip(part.windows, part.encoded, strict=True):
            blend(total, weight, window, probability(source, network))
            done += 1
            yield Progress(done, sum(len(one.windows) for one in parts), "Predicting again around the strokes")
        place = new[slices(part.grid.box)]
        np.maximum(place, part.grid.to_case(total / weight), out=place)
    return new
