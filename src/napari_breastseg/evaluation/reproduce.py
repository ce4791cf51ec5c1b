"""Training and testing every row of a paper's table on a cohort: by patient, resumable, with the paper's metrics.

What is done is kept: the split, the prepared cases, the weights and the predictions of each run. The same call goes on where one stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from scipy.stats import wilcoxon

from napari_breastseg.evaluation import metrics
from napari_breastseg.evaluation.metrics import METRICS
from napari_breastseg.evaluation.papers import PaperTable, Row, paper_table
from napari_breastseg.evaluation.splits import Split, SplitPlan, keep_splits, patients_of
from napari_breastseg.evaluation.tables import markdown
from napari_breastseg.inference import predict
from napari_breastseg.inference.devices import pick_device
from napari_breastseg.io import write_mask
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.cohort import LabelledCase
from napari_breastseg.losses.frloss import FRLoss
from napari_breastseg.methods.model import Model
from napari_breastseg.methods.preset import Preset
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import train_weights
from napari_breastseg.training.settings import claim_folder

SPLIT = "split.json"
COMPARED = ("dice", "iou")
"""Metrics of which a row is compared with the table's reference."""
T = TypeVar("T")


@dataclass(frozen=True)
class Reproduction:
    """Settings of :func:`reproduce`.

    Parameters
    ----------
    method : str
    table : int
        See :mod:`napari_breastseg.evaluation.papers`.
    steps, batch, patch : int
        Of each training; windows at inference have the edge `patch`, too.
    learning_rate : float
    seeds : int
        Trainings of each row, with the seeds 0, 1, ...
    balanced : bool
        Draw each folder of images equally often in training.
    encoder : Path, optional
        ImageNet weights that the encoders which take such weights start from; see :mod:`napari_breastseg.methods.pretrained`.
    split : SplitPlan
    """

    method: str
    table: int
    steps: int = 2000
    batch: int = 2
    patch: int = 64
    learning_rate: float = 1e-3
    seeds: int = 1
    balanced: bool = False
    encoder: Path | None = None
    split: SplitPlan = field(default_factory=SplitPlan)


@dataclass(frozen=True)
class Run:
    """One training of one row: its place on disk, and the part of the cohort that it sees."""

    row: Row
    preset: Preset
    seed: int
    fold: int
    split: Split
    place: Path


def reproduce(cases: Sequence[LabelledCase], settings: Reproduction, out: Path, device: str = "auto") -> Job[dict[str, Any]]:
    """Train and test every row of a table; write ``METHOD-table-N/table.md`` and ``report.json`` in `out` anew after each run.

    Parameters
    ----------
    cases : sequence of LabelledCase
    settings : Reproduction
    out : Path
        Tables in the same folder share the split and the prepared cases.
    device : str

    Returns
    -------
    dict
        JSON-ready: the settings, a summary of each row, and the metrics of each case.

    Raises
    ------
    InputError
        If there are too few patients, a case cannot be read, or `out` holds the same table of other data or with other settings.
    ComputeError
        If the device is missing.
    """
    table = paper_table(settings.method, settings.table)
    pick_device(device)
    by_name = {case.name: case for case in cases}
    patients = patients_of(list(by_name), settings.split)
    if not (out / SPLIT).is_file():  # later the fingerprints say that the cases are the same
        for number, case in enumerate(cases):
            yield Progress(number, len(cases), f"Checking {case.name}")
            case.check()
    splits = keep_splits(out / SPLIT, {case.name: case.fingerprint() for case in cases}, settings.split)
    folder = out / table.name
    claim_folder(folder, _as_dict(settings))
    rows = table.with_windows(settings.patch)
    runs = [
        Run(row, row.preset, seed, fold, split, folder / row.key / f"fold-{fold}-seed-{seed}")
        for row in rows if row.preset for fold, split in enumerate(splits) for seed in range(settings.seeds)
    ]  # fmt: skip
    presets = {row.preset.name: row.preset for row in rows if row.preset}
    sizes = {name: preset.parameters() for name, preset in presets.items()}
    measured: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for number, run in enumerate(runs, 1):
        work = _train_and_test(run, by_name, patients, settings, out / "cases", device)
        measured += yield from _named(work, f"Run {number} of {len(runs)}, {run.row.key}")
        report = _write_report(folder, table, rows, sizes, settings, measured)
    return report


def _train_and_test(
    run: Run, cases: Mapping[str, LabelledCase], patients: Mapping[str, str], settings: Reproduction, prepared: Path, device: str
) -> Job[list[dict[str, Any]]]:
    """Return the metrics of every case that the run tests on; what was measured before is read back."""
    path = run.place / "results.json"
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    left = [name for name in run.split.test if name not in {result["case"] for result in results}]
    if not left:
        return results
    model = yield from _trained(run, [cases[name] for name in run.split.training], settings, prepared, device)
    (run.place / "predictions").mkdir(exist_ok=True)
    for name in left:
        case, truth = cases[name].read()
        prediction = yield from _named(predict(case, model, device=device), name)
        write_mask(prediction.refined, case.geometry, run.place / "predictions" / f"{name}.nii.gz")
        figures = {metric: _defined(measure(prediction.refined, truth, case.geometry.spacing)) for metric, measure in METRICS.items()}
        about = {"row": run.row.key, "seed": run.seed, "fold": run.fold, "case": name, "patient": patients[name]}
        marked = float((prediction.refined > 0).mean())
        results.append({**about, "healthy": not truth.any(), "marked": marked, **figures})
        write_atomically(path, json.dumps(results, indent=1).encode())
    return results


def _trained(run: Run, training: Sequence[LabelledCase], settings: Reproduction, prepared: Path, device: str) -> Job[Model]:
    path = run.place / "weights.safetensors"
    if not path.is_file():
        config = TrainConfig(
            steps=settings.steps, batch=settings.batch, patch=settings.patch, learning_rate=settings.learning_rate, phantoms=0,
            frloss=FRLoss(terms=run.row.terms) if run.row.terms else None, seed=run.seed, balanced=settings.balanced,
        )  # fmt: skip
        # Networks that see the same on the same grid share what was prepared.
        own = prepared / (f"{run.preset.inputs.__name__}-{run.preset.side}" if run.preset.side else run.preset.inputs.__name__)
        encoder = settings.encoder if run.preset.encoder else None
        weights = yield from train_weights(run.preset, config, run.place, training, device=device, prepared=own, encoder=encoder)
        write_atomically(path, safetensors.torch.save({key: value.cpu().contiguous() for key, value in weights.items()}))
        for state in run.place.glob("*state.safetensors"):  # each holds the optimiser's moments, twice the weights
            state.unlink()
    content = path.read_bytes()
    return Model(run.preset, safetensors.torch.load(content), {}, hashlib.sha256(content).hexdigest(), path)


def _write_report(
    folder: Path,
    table: PaperTable,
    rows: Sequence[Row],
    sizes: Mapping[str, int],
    settings: Reproduction,
    measured: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    summaries = [_summary(row, sizes, [result for result in measured if result["row"] == row.key]) for row in rows]
    reference = [result for result in measured if result["row"] == table.reference]
    for summary in summaries:
        if reference and summary["key"] != table.reference:
            own = [result for result in measured if result["row"] == summary["key"]]
            summary["difference"] = {metric: _difference(own, reference, metric) for metric in COMPARED}
    report = {
        "settings": _as_dict(settings),
        "title": table.title,
        "of": table.of,
        "marks": list(table.marks),
        "metrics": list(table.metrics),
        "papers_settings": table.settings,
        "reference": table.reference,
        "flat": any(row.preset.flat for row in rows if row.preset),
        "rows": summaries,
        "cases": list(measured),
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1).encode())
    write_atomically(folder / "table.md", markdown(report).encode())
    return report


def _summary(row: Row, sizes: Mapping[str, int], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each metric over the patients, each patient's mean over cases and seeds; from two patients on with its 95 % interval.

    Cases without tumour, of which overlap says nothing, are counted by themselves: the share in which something was marked all the same.
    Where a metric is not defined, as the distance to an empty mask, it is left out and counted.
    """
    ill, healthy = ([result for result in results if result["healthy"] == state] for state in (False, True))
    figures = {}
    for metric in METRICS if ill else ():
        undefined = sum(result[metric] is None for result in ill)
        figures[metric] = {**_mean(list(_by_patient(ill, metric).values())), "undefined": undefined}
    return {
        "key": row.key,
        "label": row.label,
        "marks": list(row.marks),
        "parameters": sizes[row.preset.name] if row.preset else None,
        "missing": row.missing,
        "published": dict(row.figures),
        "patients": len({result["patient"] for result in ill}),
        "metrics": figures,
        "healthy": len({result["case"] for result in healthy}),
        "false_alarms": _mean(list(_by_patient([{**r, "alarm": float(r["marked"] > 0)} for r in healthy], "alarm").values())),
    }


def _by_patient(results: Sequence[dict[str, Any]], metric: str) -> dict[str, float]:
    """Return each patient's mean over cases and seeds, of those for whom the metric is defined."""
    known: dict[str, list[float]] = {}
    for result in results:
        if result[metric] is not None:
            known.setdefault(result["patient"], []).append(result[metric])
    return {patient: sum(values) / len(values) for patient, values in sorted(known.items())}


def _mean(each: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": sum(each) / len(each) if each else None,
        "ci95": list(metrics.bootstrap_interval(each)) if len(each) > 1 else None,
    }


def _difference(results: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Compare a row with the reference, patient by patient, over those who were tested on in both: mean, interval, Wilcoxon's p."""
    ours, theirs = (_by_patient([r for r in found if not r["healthy"]], metric) for found in (results, reference))
    each = [ours[patient] - theirs[patient] for patient in sorted(ours.keys() & theirs.keys())]
    p = float(wilcoxon(each).pvalue) if any(each) else 1.0
    return {**_mean(each), "patients": len(each), "wilcoxon_p": p}


def _as_dict(settings: Reproduction) -> dict[str, Any]:
    encoder = "" if settings.encoder is None else hashlib.sha256(settings.encoder.read_bytes()).hexdigest()
    return {**asdict(settings), "split": settings.split.as_dict(), "encoder": encoder}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _named(job: Job[T], name: str) -> Job[T]:
    """Run `job` within another, with `name` before its messages."""
    try:
        while True:
            try:
                progress: Progress = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            yield replace(progress, message=f"{name}: {progress.message}")
    finally:
        job.close()
