"""The job that a place works off: read a case, predict, write its mask, and last of all the record that says that it is whole."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.compute import for_people
from napari_breastseg.inference import predict
from napari_breastseg.inference.grids import Region
from napari_breastseg.inference.uncertainty import UNCERTAINTY
from napari_breastseg.io import write_map, write_mask
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.measure import tumour_figures
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.progress import Job, Progress, retold

JOB = "napari_breastseg.cohort.job:predict_cases"


@dataclass(frozen=True)
class Order:
    """One case to predict.

    Attributes
    ----------
    case : ListedCase
    times : tuple of float
        As :meth:`ListedCase.times` found them: the JSON file itself need not reach the place where the case is read.
    asked : mapping
        JSON-ready: model, input and options. The record repeats it, so that one can tell later whether the same is asked for.
    out : Path
        Empty folder for this case alone.
    images : str
        The folder of the images, for messages: where the job runs it may have another name.
    """

    case: ListedCase
    times: tuple[float, ...]
    asked: Mapping[str, Any]
    out: Path
    images: str


@dataclass(frozen=True)
class Finished:
    """One case is done, or has failed for the reason `error`, a sentence for people."""

    name: str
    error: str | None


def predict_cases(orders: Sequence[Order], model: Path, device: str, probability: bool, region: Region, mirror: bool) -> Job[None]:
    """Predict cases one after the other; one that fails keeps nobody else from his turn.

    The payload of a Progress is a :class:`Finished` after each case, when its files are in its folder: ``<name>.nii.gz``,
    ``probability/<name>.nii.gz`` and ``uncertainty/<name>.nii.gz`` if asked for, and ``<name>.json``, the record.

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    """
    loaded = load_model(model)
    for order in orders:
        name, error = order.case.name, None
        try:
            yield from _predict_case(order, loaded, probability, {"device": device, "region": region, "mirror": mirror})
        except Exception as failure:
            error = str(for_people(failure, "prediction")).replace(str(order.case.files[0].parent), order.images)
        yield Progress(1, 1, name, Finished(name, error))


def _predict_case(order: Order, model: Model, probability: bool, way: Mapping[str, Any]) -> Job[None]:
    started = time.perf_counter()
    name = order.case.name
    yield Progress(0, 1, f"{name}: Reading")
    case = order.case.read(order.times)
    # Previews are for somebody who looks on; here they would only be carried about.
    prediction = yield from retold(predict(case, model, **way), lambda step: Progress(step.step, step.total, f"{name}: {step.message}"))
    files = [mask_name(name)]
    write_mask(prediction.refined, case.geometry, order.out / files[0])
    maps = {probability_name(name): np.asarray(prediction.probability)} if probability else {}
    maps |= {uncertainty_name(name): values for key, values in prediction.maps.items() if key == UNCERTAINTY}
    for file, values in maps.items():
        files.append(file)
        (order.out / file).parent.mkdir(exist_ok=True)
        write_map(values, case.geometry, order.out / file)
    record = {
        "case": name,
        "asked": dict(order.asked),
        "files": {file: digest(order.out / file) for file in files},
        "seconds": round(time.perf_counter() - started, 2),
        "modality": case.modality,
        **tumour_figures(prediction.refined, case),
        "prediction": dict(prediction.details),
    }
    write_atomically(order.out / record_name(name), json.dumps(record, indent=2).encode())


def mask_name(name: str) -> str:
    """Return the file that holds the mask of a case, within the results."""
    return f"{name}.nii.gz"


def probability_name(name: str) -> str:
    """Return the file that holds the probability of a case, in a folder of its own, where no other case's mask can have its name."""
    return f"probability/{name}.nii.gz"


def uncertainty_name(name: str) -> str:
    """Return the file that holds the uncertainty over mirror images of a case."""
    return f"{UNCERTAINTY}/{name}.nii.gz"


def record_name(name: str) -> str:
    """Return the file that says how a case was predicted."""
    return f"{name}.json"


def digest(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
