"""Learning from corrections on real ultrasound: BUSI, fold by fold, with a base model from a small part of the other folds.

For each fold a base model of ha-net/compact is trained, from random weights, on 100 images of the other folds; then 60 images of the fold
are predicted, corrected click by click and learned from in a fixed order, beside the same stream with the frozen base model. What is done
is kept: the same command goes on after a kill::

    python benchmarks/busi_stream.py --busi FOLDER --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_breastseg.evaluation.protocols import stream_tables as tables
from napari_breastseg.evaluation.protocols.stream import Plan, run_stream
from napari_breastseg.evaluation.protocols.ultrasound import Fold, busi_fold, busi_material
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Progress, run
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.from_scratch import train_from_scratch

PRESET = "ha-net/compact"
RECIPES = ("frozen", "full")
NOTE = (
    "BUSI (Al-Dhabyani et al., Data in Brief 2020;28:104863), one image of each group of near-duplicates; folds are not proven to be of "
    "different patients. The base models have seen few images: the stream shows whether corrections are learned, not how well ultrasound "
    "can be segmented. Single images are not refined. Not for clinical use."
)


def main() -> None:
    """Train the base models, run the streams, and write the report anew after each."""
    options = arguments()
    torch.set_num_threads(1)
    records: dict[str, list[Any]] = {name: [] for name in options.recipes}
    for number in options.folds:
        fold, place = busi_fold(options.busi, number), options.out / f"fold{number}"
        model = base_model(fold, number, options.steps, place / "base")
        for name in options.recipes:
            plan = Plan(name, number, options.cases, learn_every=options.learn_every, look_back_every=20, model=str(model))
            record = run(run_stream(plan, place, "cpu", busi_material(fold)), tell)
            records[name].append(record)
            scores = {which: round(float(np.mean(values)), 3) for which, values in record["base"].items()}
            print(f"fold {number}, {name}: base model's Dice {scores}", flush=True)
        text = tables.markdown("BUSI, fold by fold", [tables.corrections_table(records), tables.forgetting_table(records)], [NOTE])
        write_atomically(options.out / "busi_stream.md", text.encode())
        write_atomically(options.out / "busi_stream.json", json.dumps(tables.as_json(records), indent=1).encode())


def arguments() -> argparse.Namespace:
    """Return the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busi", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--learn-every", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="of the base models")
    return parser.parse_args()


def base_model(fold: Fold, number: int, steps: int, out: Path) -> Path:
    """Train the base model of a fold, unless it was done before."""
    path = out / "model.safetensors"
    if path.is_file():
        found = load_model(path).preset.name
        if found != PRESET:
            raise SystemExit(f"{path} is of {found}, not of {PRESET}. Choose another --out.")
        return path
    config = TrainConfig(steps=steps, batch=8, patch=256, phantoms=0, seed=number)
    return run(train_from_scratch(get_preset(PRESET), config, out, fold.trained, device="cpu"), tell)


def tell(step: Progress) -> None:
    """Print now and then what is going on."""
    if step.step % 20 == 0:
        print(time.strftime("%H:%M:%S"), step.step, step.total, step.message, flush=True)


if __name__ == "__main__":
    main()
