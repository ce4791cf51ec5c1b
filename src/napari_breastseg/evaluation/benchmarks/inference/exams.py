"""Examinations to measure on, and the ways to predict them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Geometry, whole
from napari_breastseg.evaluation.benchmarks.inference.peers import VolumePredictor
from napari_breastseg.inference import Preview, predict
from napari_breastseg.inference.grids import make_plan
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.methods.model import Model
from napari_breastseg.phantom import Phantom, make_phantom
from napari_breastseg.phantom.acquisition import draw_protocol
from napari_breastseg.preprocess.resample import resample
from napari_breastseg.progress import Progress, run

FULL = (160, 448, 448)
"""Voxels (z, y, x) of a full examination of both breasts."""

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Timed:
    """A mask, the seconds until it was there, and until its first coarse layer was."""

    mask: Mask
    seconds: float
    coarse: float | None = None


Way = Callable[[Case], Timed]


def full_exams(count: int, shape: tuple[int, int, int] = FULL) -> Iterator[Phantom]:
    """Make phantoms of both breasts with one tumour each: the first seeds whose protocol shows both."""
    found = 0
    for seed in itertools.count():
        if found == count:
            return
        if draw_protocol(np.random.default_rng(seed), shape, 2).bilateral:
            found += 1
            yield make_phantom(seed, shape, phases=2, lesions=1)


def ours(model: Model) -> Way:
    """Predict as the product does."""

    def predicting(case: Case) -> Timed:
        coarse: list[float] = []
        began = time.perf_counter()

        def watch(progress: Progress) -> None:
            if not coarse and isinstance(progress.payload, Preview):
                coarse.append(time.perf_counter() - began)

        mask = run(predict(case, model, device="cpu"), watch).refined
        return Timed(mask, time.perf_counter() - began, coarse[0])

    return predicting


def peer(model: Model, predictor: VolumePredictor) -> Way:
    """Predict the whole field of view on our working grid with our reading, resampling and cleaning; between them, another predictor."""

    def predicting(case: Case) -> Timed:
        began = time.perf_counter()
        box, plan = whole(case.shape), make_plan(case, model.preset, "full")
        channels = plan.inputs.read(box, plan.shape(box))
        probability = resample(predictor(channels)[None], case.shape)[0]
        mask = clean_mask(probability > 0.5, case.geometry.voxel_ml)
        return Timed(mask, time.perf_counter() - began)

    return predicting


def keep(case: Case, folder: Path) -> None:
    """Store a case, so that another process can read it."""
    np.save(folder / "images.npy", np.asarray(case.images))
    np.save(folder / "affine.npy", case.geometry.affine)
    np.save(folder / "spacing.npy", np.array(case.geometry.spacing))


def kept(folder: Path) -> Case:
    """Read a case that was stored, into memory."""
    images = np.load(folder / "images.npy")
    z, y, x = np.load(folder / "spacing.npy").tolist()
    return Case("exam", images, Geometry((z, y, x), np.load(folder / "affine.npy"), images.shape[:0:-1]))
