"""One full examination, predicted by us and by peers, each in a process of its own: seconds and peak memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari_breastseg.errors import ComputeError
from napari_breastseg.evaluation.benchmarks.alone import alone, peak_memory
from napari_breastseg.evaluation.benchmarks.inference.exams import FULL, Way, full_exams, keep, kept, ours, peer
from napari_breastseg.evaluation.benchmarks.inference.peers import monai_sliding, nnunet_predictor, segresnet
from napari_breastseg.inference.engines import force_engine
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import Job, Progress

PATCH = (128, 128, 128)


def _monai(model: Model) -> Way:
    return peer(model, monai_sliding(model.network("cpu"), model.preset.window or model.preset.patch))


def _segresnet(model: Model) -> Way:
    return peer(model, monai_sliding(segresnet(model.preset.channels), PATCH))


def _nnunet(model: Model, mirror: bool) -> Way:
    return peer(model, nnunet_predictor(model.preset.channels, PATCH, mirror))


OURS = "HCMA-UNet, ours"
WAYS: dict[str, Callable[[Model], Way]] = {
    OURS: ours,
    "HCMA-UNet, ours, torch": ours,
    "HCMA-UNet, MONAI's windows, torch": _monai,
    "SegResNet, MONAI's windows, torch": _segresnet,
    "nnU-Net and its predictor, no mirroring": partial(_nnunet, mirror=False),
}


def compare_peers(model: str, shape: tuple[int, int, int] = FULL) -> Job[dict[str, Any]]:
    """Measure every way on the same examination; a peer that is not installed gets a row that says so.

    Returns
    -------
    dict
        JSON-ready.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="napari-breastseg-") as name:
        folder = Path(name)
        yield Progress(0, len(WAYS), "Making an examination")
        (phantom,) = full_exams(1, shape)
        keep(phantom.case, folder)
        del phantom
        for done, way in enumerate(WAYS):
            yield Progress(done, len(WAYS), way)
            try:
                rows.append({"way": way, **alone(way, measure, way, model, folder)})
            except ComputeError as error:
                rows.append({"way": way, "seconds": None, "peak_memory_mib": None, "why": str(error)})
    base = next(row["seconds"] for row in rows if row["way"] == OURS)
    for row in rows:
        row["times_ours"] = None if row["seconds"] is None else row["seconds"] / base
    return {"shape": list(shape), "rows": rows}


def measure(way: str, model: str, folder: Path) -> dict[str, float]:
    """Predict the examination in `folder` once, after a small one to warm up; return seconds and peak memory (MiB) of this process."""
    if way.endswith("torch"):
        force_engine("torch")
    predicting = WAYS[way](load_model(model))
    predicting(make_phantom(0, (48, 96, 96), phases=2, lesions=1).case)
    seconds = predicting(kept(folder)).seconds
    return {"seconds": seconds, "peak_memory_mib": peak_memory()}
