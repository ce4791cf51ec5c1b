"""Training with FRLoss against training without: the same phantoms, batches, dropout and start; vessels and benign masses distract.

Phantoms are written as a cohort on disk; each arm is trained on one part of it and predicts the other with the whole pipeline. What is
done is kept: the same command goes on after a kill. As published in ``results/frloss_trial.md``, it takes about an hour of one core::

    python benchmarks/frloss_trial.py --out FOLDER --start hcma-unet/practical
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from napari_breastseg.evaluation.metrics import bootstrap_interval, dice, precision, recall
from napari_breastseg.inference import predict
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.cohort import LabelledCase, find_cases
from napari_breastseg.losses.frloss import FRLoss
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.phantom import TISSUES, make_phantom
from napari_breastseg.progress import run
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import train_from_scratch

SHAPE = (96, 160, 160)
BENIGN = 2
TRAINING_SEEDS, TEST_SEEDS = 21000, 22000  # no starter weights, replay or gate knows these phantoms
DIAMETERS = (10, 40)  # mm: each phantom to test on has one tumour of a size in this range; those to train on have them as they are drawn
ARMS: dict[str, FRLoss | None] = {"without": None, "with": FRLoss()}
FIGURES = ("precision", "dice", "recall")


def main() -> None:
    """Make the cohort, train and test every arm and seed, and write the report anew after each."""
    options = arguments()
    torch.set_num_threads(1)
    drawn = dict.fromkeys(range(TRAINING_SEEDS, TRAINING_SEEDS + options.training))
    training = cohort(options.out / "training", drawn)
    test = cohort(options.out / "test", {TEST_SEEDS + i: float(d) for i, d in enumerate(np.linspace(*DIAMETERS, options.test).round(1))})
    start = load_model(options.start) if options.start else None
    rows: list[dict[str, Any]] = []
    for case in test if start else []:
        rows.append(row(start, case, "start", -1, options.out))
    for seed in options.seeds:
        for arm, frloss in ARMS.items():
            model = trained(options, training, start, arm, frloss, seed)
            rows += [row(model, case, arm, seed, options.out) for case in test]
            write_report(options, rows)
            print(arm, seed, time.strftime("%H:%M:%S"), summary([r for r in rows if (r["arm"], r["seed"]) == (arm, seed)]), flush=True)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="Where to write frloss_trial.json and .md; --out if not given.")
    parser.add_argument("--preset", default="hcma-unet/practical")
    parser.add_argument("--start", help="Model to start every run from.")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patch", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--training", type=int, default=32, help="Phantoms to train on.")
    parser.add_argument("--test", type=int, default=14, help="Phantoms to test on.")
    return parser.parse_args()


def cohort(folder: Path, diameters: Mapping[int, float | None]) -> list[LabelledCase]:
    """Write phantoms by seed, with one tumour of that diameter or tumours as they are drawn, unless they are there, and return them."""
    names = {seed: f"phantom-{seed}" + (f"-{diameter:g}mm" if diameter else "") for seed, diameter in diameters.items()}
    for seed, diameter in diameters.items():
        place = folder / names[seed]
        if (place / "tissue.npy").is_file():
            continue
        place.mkdir(parents=True, exist_ok=True)
        phantom = make_phantom(seed, SHAPE, phases=2, lesions=1 if diameter else None, diameter=diameter, benign=BENIGN)
        affine = phantom.case.geometry.affine
        for name, array in [("p_0000", phantom.case.phase(0)), ("p_0001", phantom.case.phase(1)), ("mask", phantom.tumour)]:
            nib.save(nib.Nifti1Image(stored(array), affine), place / f"{name}.nii")
        np.save(place / "tissue.npy", phantom.tissue)
    return [case for case in find_cases(folder) if case.name in names.values()]


def stored(array: np.ndarray) -> np.ndarray:
    """Turn (z, y, x) as the phantom holds it into (i, j, k) of its diagonal affine: i to the left, j to the back."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def trained(
    options: argparse.Namespace, training: Sequence[LabelledCase], start: Model | None, arm: str, frloss: FRLoss | None, seed: int
) -> Model:
    """Train one arm with one seed, or go on with it, or read it back."""
    out = options.out / f"{arm}-{seed}"
    config = TrainConfig(
        steps=options.steps, batch=options.batch, patch=options.patch, learning_rate=options.learning_rate,
        phantoms=0, frloss=frloss, seed=seed,
    )  # fmt: skip
    if not (out / "model.safetensors").is_file():
        run(train_from_scratch(get_preset(options.preset), config, out, training, start, "cpu"))
    return load_model(out / "model.safetensors")


def row(model: Model, case: LabelledCase, arm: str, seed: int, out: Path) -> dict[str, Any]:
    """Predict one case with one model and measure it, or read the measurement back."""
    path = out / "rows" / f"{arm}-{seed}-{case.name}-{model.sha[:8]}.json"
    if path.is_file():
        stored_row: dict[str, Any] = json.loads(path.read_text())
        return stored_row
    image, truth = case.read()
    mask = run(predict(image, model, device="cpu")).refined
    tissue = np.load(case.images / "tissue.npy")
    false = (mask == 1) & (truth == 0)
    measured = {
        "arm": arm, "seed": seed, "case": case.name, "model": model.sha,
        "precision": precision(mask, truth), "dice": dice(mask, truth), "recall": recall(mask, truth),
        "tumour_ml": float(truth.sum()) * image.geometry.voxel_ml,
        "false_ml": float(false.sum()) * image.geometry.voxel_ml,
        **{f"false_{name}_ml": float((false & (tissue == TISSUES.index(name))).sum()) * image.geometry.voxel_ml
           for name in ("benign mass", "vessel", "gland")},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(measured).encode())
    return measured


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean of every figure over the rows."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, float)]
    return {key: round(float(np.mean([r[key] for r in rows])), 4) for key in numbers}


def paired(rows: Sequence[dict[str, Any]], figure: str) -> dict[str, Any]:
    """Mean difference with minus without, per case averaged over the seeds; 95 % bootstrap interval over the cases."""
    seeds = sorted({r["seed"] for r in rows if r["arm"] == "with"})
    cases = sorted({r["case"] for r in rows})
    found = {(r["arm"], r["seed"], r["case"]): r[figure] for r in rows}
    table = np.array([[found["with", seed, case] - found["without", seed, case] for case in cases] for seed in seeds])
    per_case = table.mean(0)
    return {
        "mean": round(float(per_case.mean()), 4), "ci95": [round(end, 4) for end in bootstrap_interval(per_case.tolist())],
        "per_seed": {str(seed): round(float(mean), 4) for seed, mean in zip(seeds, table.mean(1), strict=True)},
        "cases_better": int((per_case > 0).sum()), "cases_worse": int((per_case < 0).sum()),
    }  # fmt: skip


def write_report(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Write the seeds that both arms have finished, as JSON and as Markdown."""
    both = set.intersection(*({r["seed"] for r in rows if r["arm"] == arm} for arm in ARMS))
    if not both:
        return
    kept = [r for r in rows if r["seed"] in both]
    arms = {arm: summary([r for r in rows if r["arm"] == arm and r["seed"] in {*both, -1}]) for arm in ("start", *ARMS)
            if any(r["arm"] == arm for r in rows)}  # fmt: skip
    differences = {figure: paired(kept, figure) for figure in (*FIGURES, "false_ml", "false_benign mass_ml", "false_vessel_ml")}
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k not in ("out", "report")}
    settings |= {"shape": SHAPE, "benign": BENIGN, "frloss": "T1 = T2 = 10 voxels, N = 250, lambda = 5, as published"}
    report = {"settings": settings, "seeds": sorted(both), "arms": arms, "with_minus_without": differences, "rows": list(rows)}
    folder = options.report or options.out
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "frloss_trial.json", json.dumps(report, indent=1).encode())
    write_atomically(folder / "frloss_trial.md", markdown(report).encode())


def markdown(report: dict[str, Any]) -> str:
    """Draw the report."""
    settings, arms = report["settings"], report["arms"]
    lines = [
        "# FRLoss against none, on phantoms with vessels and benign enhancing masses",
        "",
        f"`benchmarks/frloss_trial.py`: {settings['preset']}, started from {settings['start'] or 'fresh weights'}, {settings['steps']} "
        f"steps of {settings['batch']} patches of {settings['patch']} voxels, learning rate {settings['learning_rate']:g}, seeds "
        f"{', '.join(map(str, report['seeds']))}; {settings['training']} phantoms to train on, {settings['test']} others to test on, "
        f"each with {settings['benign']} benign masses. FRLoss: {settings['frloss']}. Phantoms only: no real examination.",
        "",
        "| Arm | Precision | Dice | Recall | False, mL | of it benign mass | of it vessel |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, s in arms.items():
        lines.append(
            f"| {arm} | {s['precision']:.3f} | {s['dice']:.3f} | {s['recall']:.3f} | {s['false_ml']:.2f} | "
            f"{s['false_benign mass_ml']:.2f} | {s['false_vessel_ml']:.2f} |"
        )
    lines += [
        "",
        "With minus without, paired by case (mean over the seeds), 95 % bootstrap interval over the cases:",
        "",
        "| Figure | Difference | 95 % interval | Per seed | Cases up / down |",
        "|---|---|---|---|---|",
    ]
    for figure, d in report["with_minus_without"].items():
        seeds = ", ".join(f"{mean:+.3f}" for mean in d["per_seed"].values())
        low, high = d["ci95"]
        lines.append(f"| {figure} | {d['mean']:+.3f} | {low:+.3f} to {high:+.3f} | {seeds} | {d['cases_better']} / {d['cases_worse']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
