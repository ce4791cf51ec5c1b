"""Networks that see all phases, or the one before contrast, against plainer ones: the same phantoms, batches, steps and start.

Phantoms have four to six phases and up to two benign masses, which only their kinetics tell from tumours. What is done is kept: the same
command goes on after a kill, and several may run side by side on different arms. The published figures took about four hours of one core::

    python benchmarks/series_trial.py --out FOLDER --report benchmarks/results
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from napari_breastseg.evaluation.metrics import bootstrap_interval, dice, precision, recall
from napari_breastseg.inference import predict
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.exemplars import series_phantom
from napari_breastseg.methods.model import Model
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.kis_net import COMPACT_WIDTHS, ResUNet
from napari_breastseg.networks.tsesnet import COMPACT_WIDTHS as TSESNET_WIDTHS
from napari_breastseg.networks.tsesnet import TSESNet
from napari_breastseg.phantom import TISSUES
from napari_breastseg.preprocess.intensity import Inputs, all_phases
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.progress import Progress, run
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import train_weights

SHAPE = (96, 160, 160)
TEST_SEEDS = 5000  # no training, replay or gate knows these phantoms
FIGURES = {"dice": dice, "precision": precision, "recall": recall}


def one_phase(seen: Overview) -> Inputs:
    """Return the first post-contrast phase alone, on the scale that :func:`all_phases` gives it."""
    every = all_phases(seen)
    return replace(every, weights=every.weights[1:2], offsets=every.offsets[1:2], clock=(0.0,))


def resunet(of: str, channels: int) -> Preset:
    """Return a control of HCNet with the widths of its compact preset."""
    network = partial(ResUNet, channels, widths=COMPACT_WIDTHS, norm="instance")
    return replace(get_preset(of), name=f"{of}-compact", network=network)


def without_fusion(name: str, inputs: Callable[[Overview], Inputs]) -> Preset:
    """Return TSESNet's compact preset with the mean of the phases in place of attention, which makes it blind to their order."""
    network = partial(TSESNet, TSESNET_WIDTHS, ta="split", fusion="mean")
    return replace(get_preset("tsesnet/compact"), name=f"tsesnet/compact-{name}", network=network, inputs=inputs)


@dataclass(frozen=True)
class Arm:
    """One network and how long it is trained."""

    label: str
    preset: Preset
    steps: int
    phantoms: int


LONG, SHORT = {"steps": 1200, "phantoms": 160}, {"steps": 400, "phantoms": 120}
ARMS = {
    "tsesnet": Arm("TSESNet, attention over phases and times", get_preset("tsesnet/compact"), **LONG),
    "tsesnet-mean": Arm("the same network, mean of the phases", without_fusion("mean", all_phases), **LONG),
    "tsesnet-single": Arm("the same network, first post-contrast phase alone", without_fusion("single", one_phase), **LONG),
    "hcnet": Arm("HCNet, before contrast", get_preset("hcnet/compact"), **SHORT),
    "resunet": Arm("ResUNet, before contrast", resunet("hcnet/resunet", 1), **SHORT),
    "resunet-post": Arm("ResUNet, before and after contrast", resunet("hcnet/resunet-post", 2), **SHORT),
}
PAIRS = [("tsesnet", "tsesnet-mean"), ("tsesnet", "tsesnet-single"), ("hcnet", "resunet"), ("hcnet", "resunet-post")]


def main() -> None:
    """Train and test the arms that are asked for, and report those that are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="Where to write series_trial.json and .md; --out if not given.")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--test", type=int, default=48, help="Phantoms to test on.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.arms:
        model = trained(name, options.out)
        for seed in range(TEST_SEEDS, TEST_SEEDS + options.test):
            row(name, model, seed, options.out)
    rows = {name: rows_of(name, options.out, options.test) for name in ARMS}
    write_report({name: found for name, found in rows.items() if len(found) == options.test}, options.report or options.out)


def trained(name: str, out: Path) -> Model:
    """Train an arm, or go on with it, or read its weights back, which are kept in half precision as weights that ship."""
    arm, path = ARMS[name], out / name / "weights.safetensors"
    if not path.is_file():
        config = TrainConfig(steps=arm.steps, phantoms=arm.phantoms, phantom_shape=SHAPE)
        prepared = out / "cases" / arm.preset.inputs.__name__
        weights = run(train_weights(arm.preset, config, out / name, device="cpu", prepared=prepared), partial(told, name))
        write_atomically(path, safetensors.torch.save({key: value.half().contiguous() for key, value in weights.items()}))
    stored = path.read_bytes()
    weights = {key: value.float() for key, value in safetensors.torch.load(stored).items()}
    return Model(arm.preset, weights, {}, hashlib.sha256(stored).hexdigest(), path)


def told(name: str, progress: Progress) -> None:
    """Print every 25th step."""
    if progress.step % 25 == 0:
        print(name, progress.step, progress.total, progress.message, flush=True)


def place(name: str, seed: int, out: Path) -> Path:
    """Return where an arm's figures of a phantom are kept."""
    return out / name / "test" / f"{seed}.json"


def row(name: str, model: Model, seed: int, out: Path) -> None:
    """Predict and measure a phantom, unless that was done with these weights."""
    path = place(name, seed, out)
    if path.is_file() and json.loads(path.read_text())["weights"] == model.sha:
        return
    phantom = series_phantom(seed, SHAPE)
    mask = run(predict(phantom.case, model, device="cpu")).refined
    truth, voxel = phantom.tumour, phantom.case.geometry.voxel_ml
    benign = phantom.tissue == TISSUES.index("benign mass")
    measured = {
        "seed": seed, "weights": model.sha, "tumour_ml": float(truth.sum()) * voxel, "benign_ml": float(benign.sum()) * voxel,
        "false_ml": float(((mask == 1) & (truth == 0)).sum()) * voxel,
        "false_benign_ml": float(((mask == 1) & benign).sum()) * voxel,
        **{figure: measure(mask, truth) for figure, measure in FIGURES.items()},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(measured).encode())
    print(name, {key: value for key, value in measured.items() if key != "weights"}, flush=True)


def rows_of(name: str, out: Path, count: int) -> list[dict[str, Any]]:
    """Return an arm's figures of the phantoms that were measured."""
    paths = (place(name, seed, out) for seed in range(TEST_SEEDS, TEST_SEEDS + count))
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def mean_of(values: Sequence[float]) -> dict[str, Any]:
    """Mean and 95 % bootstrap interval over the phantoms."""
    return {"mean": round(float(np.mean(values)), 4), "ci95": [round(end, 4) for end in bootstrap_interval(values)]}


def write_report(rows: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Write the arms and their differences, as JSON and as Markdown; phantoms without a tumour count for the false volumes only."""
    with_tumour = {name: [r for r in found if r["tumour_ml"] > 0] for name, found in rows.items()}
    arms = {
        name: {
            "label": ARMS[name].label, "parameters": ARMS[name].preset.parameters(), "steps": ARMS[name].steps,
            "training_phantoms": ARMS[name].phantoms,
            **{figure: mean_of([r[figure] for r in with_tumour[name]]) for figure in FIGURES},
            **{figure: mean_of([r[figure] for r in found]) for figure in ("false_ml", "false_benign_ml")},
        } for name, found in rows.items()
    }  # fmt: skip
    differences = {}
    for one, other in PAIRS:
        if one in rows and other in rows:
            each = [a["dice"] - b["dice"] for a, b in zip(with_tumour[one], with_tumour[other], strict=True)]
            better, worse = sum(d > 0 for d in each), sum(d < 0 for d in each)
            differences[f"{one} - {other}"] = {**mean_of(each), "better": better, "worse": worse}
    found = next(iter(rows.values()), [])
    report = {
        "phantoms": len(found),
        "with_tumour": sum(r["tumour_ml"] > 0 for r in found),
        "with_benign_mass": sum(r["benign_ml"] > 0 for r in found),
        "seeds": [TEST_SEEDS, TEST_SEEDS + len(found) - 1],
        "shape": SHAPE,
        "torch": torch.__version__,
        "arms": arms,
        "dice": differences,
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "series_trial.json", json.dumps(report, indent=1).encode())
    write_atomically(folder / "series_trial.md", markdown(report).encode())


def markdown(report: dict[str, Any]) -> str:
    """Draw the report."""
    lines = [
        "# Networks for series and for images before contrast, on phantoms", "",
        f"`benchmarks/series_trial.py`: {report['phantoms']} phantoms with four to six phases (seeds {report['seeds'][0]} to "
        f"{report['seeds'][1]}), {report['with_tumour']} with tumours, {report['with_benign_mass']} with benign masses that enhance; one "
        "training each, batches of two patches of 64 voxels at 1.5 mm. Dice, precision and recall: mean over phantoms with tumours; false "
        "volumes: over all. 95 % bootstrap intervals over phantoms. Phantoms only: no real examination.", "",
        "| Network | Parameters | Steps | Dice | Precision | Recall | False, mL | of it benign mass |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for arm in report["arms"].values():
        figures = " | ".join(interval(arm[figure], 3) for figure in FIGURES)
        lines.append(
            f"| {arm['label']} | {arm['parameters']:,} | {arm['steps']} | {figures} | {interval(arm['false_ml'], 2)} | "
            f"{interval(arm['false_benign_ml'], 2)} |"
        )
    lines += ["", "Difference of Dice, paired by phantom:", "", "| Networks | Difference | Better / worse |", "|---|---|---|"]
    lines += [f"| {pair} | {interval(d, 3, '+')} | {d['better']} / {d['worse']} |" for pair, d in report["dice"].items()]
    return "\n".join(lines) + "\n"


def interval(figure: dict[str, Any], digits: int, sign: str = "") -> str:
    """Return a mean and its interval as text."""
    mean, low, high = (f"{value:{sign}.{digits}f}" for value in (figure["mean"], *figure["ci95"]))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
