"""One learning round on a case with its reference: seconds, its first word, its longest silence, and how soon it can be stopped.

Rounds run in a process of their own, as in the dock. The robot corrects the worst slice of each plane before the first one; every round
learns from those corrections. Then rounds are cancelled at moments spread over their length. Figures to results/learning_round.json::

    python benchmarks/learning_round.py --case FOLDER --reference FILE
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from napari_breastseg.evaluation.annotators.robot import correct
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.evaluation.simulate import record, session_in
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.progress import run
from napari_breastseg.training.config import LearnConfig

RESULT = Path(__file__).parent / "results" / "learning_round.json"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cancels", type=int, default=8)
    options = parser.parse_args()
    case = read_case(options.case)
    truth = read_mask(options.reference, case)
    rounds: list[dict[str, Any]] = []
    with session_in() as session:
        loop = AnnotationLoop(session, "hcma-unet", options.device)
        first, case_id = str(session.current_model), session.add_case(case)
        before = run(loop.predict(case_id))
        record(session, case_id, correct(truth, session.mask(case_id), case.geometry, np.random.default_rng(0)))
        for _ in range(options.rounds):
            session.use_model(first)  # each round learns the same
            rounds.append(one_round(loop))
        after = run(loop.predict(case_id))
        session.use_model(first)
        length = median(one["seconds"] for one in rounds)
        moments = [length * (number + 0.5) / options.cancels for number in range(options.cancels)]
        stopped = [cancelled(loop, moment, seed) for seed, moment in enumerate(moments, 1000)]
    report = {
        "machine": {"processors": os.cpu_count(), "threads": torch.get_num_threads(), "python": platform.python_version()},
        "torch": torch.__version__,
        "device": options.device,
        "case": {"name": case.name, "shape": case.shape, "dice_before": round(dice(before.refined, truth), 4)},
        "dice_after": round(dice(after.refined, truth), 4),
        "rounds": rounds,
        "median_seconds": length,
        "cancelled_after": [round(moment, 1) for moment in moments],
        "seconds_to_cancel": stopped,
    }
    RESULT.write_text(json.dumps(report, indent=4) + "\n")
    print(RESULT.read_text())


def one_round(loop: AnnotationLoop) -> dict[str, Any]:
    """Go one round and look at the clock whenever it says something."""
    started = time.perf_counter()
    said = [started]
    outcome = run(loop.learn(), lambda _: said.append(time.perf_counter()))
    ended = time.perf_counter()
    silences = np.diff([*said, ended])
    return {
        "seconds": round(ended - started, 1),
        "first_word": round(said[1] - started, 2),
        "longest_silence": round(float(silences.max()), 2),
        "adopted": outcome.adopted,
    }


def cancelled(loop: AnnotationLoop, after: float, seed: int) -> float | None:
    """Begin a round, cancel it after so many seconds, and return how many more it takes to stop: to its next word, and to clear away.

    The seed is another each time, so that the round begins anew and does not go on where the last one was cancelled. None if it was over.
    """
    job, started = loop.learn(LearnConfig(seed=seed)), time.perf_counter()
    for _ in job:
        if time.perf_counter() - started > after:
            job.close()
            return round(time.perf_counter() - started - after, 2)
    return None


if __name__ == "__main__":
    main()
