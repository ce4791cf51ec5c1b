"""Our predictor beside MONAI's sliding window with the same network: seconds, and whether the masks are as good."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from napari_breastseg.case import slices
from napari_breastseg.evaluation.benchmarks.inference.exams import FULL, Timed, Way, full_exams, ours, peer
from napari_breastseg.evaluation.benchmarks.inference.peers import monai_sliding
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.inference.engines import force_engine, forced_engine, openvino_network, openvino_state
from napari_breastseg.inference.grids import make_plan
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.methods.model import Model
from napari_breastseg.phantom import Phantom, make_phantom
from napari_breastseg.progress import Job, Progress

OVERLAP = 0.5
"""Of MONAI's windows, of 128 voxels; twice its own default. Where the examination is thinner, MONAI pads with zeros."""


def compare_windows(model: Model, cases: int, shape: tuple[int, int, int] = FULL) -> Job[dict[str, Any]]:
    """Predict full examinations our way and MONAI's, each with the network in torch and, where it is installed, in OpenVINO.

    Both read, resample and clean with the same code; MONAI's windows cover the whole field of view. Its mask is judged as it is, and again
    without what lies outside our breast region.

    Returns
    -------
    dict
        JSON-ready: a row for each examination; for each engine medians of the ratios and means of Dice; and the median of the ratios of
        MONAI with the network in torch to ours in the engine that we choose, `times_faster_than_monai_in_torch`.
    """
    engines = ["torch"] + (["openvino"] if openvino_state().startswith("ready") and forced_engine() != "torch" else [])
    warm = make_phantom(0, (48, 96, 96), phases=2, lesions=1).case
    for engine in engines:
        with _using(engine):
            for way in _ways(model, engine).values():
                yield Progress(0, cases, "Warming up")
                way(warm)
    rows: list[dict[str, Any]] = []
    for phantom in full_exams(cases, shape):
        row: dict[str, Any] = {"case": phantom.case.name, "spacing_mm": [round(s, 2) for s in phantom.case.geometry.spacing]}
        for engine in engines:
            with _using(engine):
                found: dict[str, Timed] = {}
                for name, way in _ways(model, engine).items():
                    yield Progress(len(rows), cases, f"{phantom.case.name}, {name}, {engine}")
                    found[name] = way(phantom.case)
            row[engine] = _compared(phantom, model, **found)
        rows.append(row)
    return {
        "cases": cases,
        "shape": list(shape),
        "overlap": OVERLAP,
        "times_faster_than_monai_in_torch": statistics.median(row["torch"]["monai_s"] / row[engines[-1]]["ours_s"] for row in rows),
        "rows": rows,
        **{name: _summary(rows, name) for name in engines},
    }


@contextmanager
def _using(engine: str) -> Iterator[None]:
    before = forced_engine()
    force_engine(engine)
    try:
        yield
    finally:
        force_engine(before)


def _ways(model: Model, engine: str) -> dict[str, Way]:
    network: Any = model.network("cpu")
    if engine == "openvino":
        network = openvino_network(network, model.preset.channels, model.sha)
    return {"ours": ours(model), "monai": peer(model, monai_sliding(network, model.preset.window or model.preset.patch, OVERLAP))}


def _compared(phantom: Phantom, model: Model, ours: Timed, monai: Timed) -> dict[str, float]:
    assert ours.coarse is not None
    case, tumour = phantom.case, phantom.tumour > 0
    region = make_plan(case, model.preset).region
    looked_at = np.zeros(case.shape, bool)
    for box in region.boxes:
        looked_at[slices(box)] = True
    within = clean_mask((monai.mask > 0) & looked_at & region.inside, case.geometry.voxel_ml)
    return {
        "ours_s": ours.seconds,
        "monai_s": monai.seconds,
        "times_faster": monai.seconds / ours.seconds,
        "coarse_share": ours.coarse / ours.seconds,
        "ours_dice": dice(ours.mask > 0, tumour),
        "monai_dice": dice(monai.mask > 0, tumour),
        "monai_dice_in_region": dice(within > 0, tumour),
    }


def _summary(rows: list[dict[str, Any]], engine: str) -> dict[str, float]:
    def of(key: str) -> list[float]:
        return [row[engine][key] for row in rows]

    return {
        **{f"median_{key}": statistics.median(of(key)) for key in ("ours_s", "monai_s", "times_faster", "coarse_share")},
        **{f"mean_{key}": statistics.fmean(of(key)) for key in ("ours_dice", "monai_dice", "monai_dice_in_region")},
        "mean_dice_difference": statistics.fmean(a - b for a, b in zip(of("ours_dice"), of("monai_dice"), strict=True)),
    }
