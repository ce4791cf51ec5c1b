"""How well BReMS-Net's starter weights find masses in synthetic mammograms that they never saw, and what the threshold was chosen by.

The coarse prediction is judged beside the refined one. Ten minutes of one core::

    python benchmarks/mammograms.py --out benchmarks/results/mammograms.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_breastseg.evaluation.metrics import bootstrap_interval, dice, precision, recall
from napari_breastseg.inference import predict
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods.exemplars import mammogram
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.progress import run

SHAPE = (1, 1, 1)
"""What exemplars are asked for; a mammogram has a size of its own."""
CALIBRATION, UNSEEN = range(3000, 3020), range(5000, 5042)
"""Seeds: what the threshold was chosen on, and what the weights are judged on. Those trained on are 1000 to 1139."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def main() -> None:
    """Measure both sets and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="brems-net", help="weights, or a starter model by name")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model)
    found = {"model": model.sha, "threshold": model.threshold, "dice_by_threshold": calibration(model), "unseen": unseen(model)}
    write_atomically(options.out, json.dumps(found, indent=1).encode())
    print(json.dumps({key: value for key, value in found["unseen"].items() if key != "cases"}, indent=1))


def calibration(model: Model) -> dict[str, float]:
    """Return the mean Dice of the refined probability, by threshold, on the phantoms that show a mass."""
    rows = []
    for seed in CALIBRATION:
        case, truth = mammogram(seed, SHAPE)
        if truth.any():
            probability = run(predict(case, model, device="cpu")).probability
            rows.append([dice(probability > threshold, truth) for threshold in THRESHOLDS])
    return {str(threshold): round(float(value), 3) for threshold, value in zip(THRESHOLDS, np.mean(rows, axis=0), strict=True)}


def unseen(model: Model) -> dict[str, Any]:
    """Return the figures of the others: of each phantom, their means and intervals, and how many without a mass show something."""
    cases: list[dict[str, Any]] = []
    for seed in UNSEEN:
        case, truth = mammogram(seed, SHAPE)
        shown = run(predict(case, model, device="cpu"))
        one: dict[str, Any] = {"seed": seed, "view": case.metadata["view"], "mass": bool(truth.any()), "marked": bool(shown.refined.any())}
        if truth.any():
            figures = {"dice": dice, "precision": precision, "recall": recall}
            one |= {name: round(measure(shown.refined, truth), 4) for name, measure in figures.items()}
            one["coarse_dice"] = round(dice(shown.coarse, truth), 4)
        cases.append(one)
        print(one, flush=True)
    ill, well = [one for one in cases if one["mass"]], [one for one in cases if not one["mass"]]
    gains = [one["dice"] - one["coarse_dice"] for one in ill]
    return {
        "with_mass": len(ill),
        **{name: _mean([one[name] for one in ill]) for name in ("dice", "coarse_dice", "precision", "recall")},
        "refined_better_by": _mean(gains),
        "without_mass": len(well),
        "marked_of_these": sum(one["marked"] for one in well),
        "cases": cases,
    }


def _mean(values: list[float]) -> dict[str, Any]:
    return {"mean": round(float(np.mean(values)), 4), "ci95": [round(end, 4) for end in bootstrap_interval(values)]}


if __name__ == "__main__":
    main()
