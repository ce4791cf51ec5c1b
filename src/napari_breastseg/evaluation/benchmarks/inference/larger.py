"""An examination of several gigabytes in Zarr, predicted in a process of its own: how much memory that takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_breastseg.case import Case, Geometry
from napari_breastseg.evaluation.benchmarks.alone import alone, peak_memory
from napari_breastseg.evaluation.benchmarks.inference.exams import ours
from napari_breastseg.inference import predict
from napari_breastseg.methods.model import load_model
from napari_breastseg.phantom import make_phantom
from napari_breastseg.preprocess.resample import resample
from napari_breastseg.progress import Job, Progress, run

PHASES, SHAPE = 6, (400, 512, 512)
SMALLER = 4
"""The phantom that is enlarged has so many times fewer voxels along each axis."""
CHUNK = (1, 16, 256, 256)


def predict_larger(model: str, shape: tuple[int, int, int] = SHAPE, phases: int = PHASES) -> Job[dict[str, Any]]:
    """Enlarge a phantom with fresh noise into a Zarr array and predict that.

    Returns
    -------
    dict
        JSON-ready: size, seconds, stated and measured memory.
    """
    with tempfile.TemporaryDirectory(prefix="napari-breastseg-") as name:
        path = Path(name) / "images.zarr"
        small = make_phantom(2, (shape[0] // SMALLER, shape[1] // SMALLER, shape[2] // SMALLER), phases=phases, lesions=1).case
        images = zarr.create_array(path, shape=(phases, *shape), chunks=CHUNK, dtype=np.float32)
        noise = np.random.default_rng(0)
        for phase in range(phases):
            large = resample(small.phase(phase)[None], shape)[0]
            for low in range(0, shape[0], CHUNK[1]):
                yield Progress(phase * shape[0] + low, phases * shape[0], "Making an examination")
                slab = large[low : low + CHUNK[1]]
                images[phase, low : low + CHUNK[1]] = slab + noise.normal(0, 5, slab.shape).astype(np.float32)
            del large
        spacing = tuple(step / SMALLER for step in small.geometry.spacing)
        yield Progress(1, 1, "Predicting it")
        found = alone("The examination in Zarr", measure, model, path, spacing)
    return {"shape": [phases, *shape], "gigabytes": 4 * phases * float(np.prod(shape)) / 1e9, **found}


def measure(model: str, path: Path, spacing: tuple[float, float, float]) -> dict[str, float]:
    """Predict the examination, after a small one to warm up; return seconds, and memory as stated beforehand and as measured, in MiB."""
    loaded = load_model(model)
    ours(loaded)(make_phantom(0, (48, 96, 96), phases=2, lesions=1).case)
    before = peak_memory()
    images = zarr.open_array(path, mode="r")
    _, z, y, x = images.shape
    case = Case("larger", images, Geometry(spacing, np.diag([-spacing[2], -spacing[1], spacing[0], 1.0]), (x, y, z)))
    details = run(predict(case, loaded, device="cpu")).details
    peak = peak_memory()
    return {
        "seconds": details["seconds"],
        "peak_memory_mib": peak,
        "stated_mib": details["memory_needed"] / 2**20,
        "measured_mib": peak - before,
    }
