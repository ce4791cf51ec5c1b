"""All measurements of whole volumes in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.benchmarks.inference.larger import predict_larger
from napari_breastseg.evaluation.benchmarks.inference.recall import measure_recall
from napari_breastseg.evaluation.benchmarks.inference.side_by_side import compare_peers
from napari_breastseg.evaluation.benchmarks.inference.windows import compare_windows
from napari_breastseg.evaluation.benchmarks.timing import machine
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Job

MODEL = "hcma-unet"
PARTS: dict[str, Callable[[int], Job[dict[str, Any]]]] = {
    "windows": lambda cases: compare_windows(load_model(MODEL), cases),
    "peers": lambda cases: compare_peers(MODEL),
    "larger": lambda cases: predict_larger(MODEL),
    "recall": lambda cases: measure_recall(load_model(MODEL), cases),
}
"""What can be measured, by name."""


def benchmark_inference(cases: int = 10, only: Sequence[str] = ()) -> Job[dict[str, Any]]:
    """Measure the parts named in `only`, or all of them, on so many phantoms.

    Returns
    -------
    dict
        JSON-ready: the machine, and what each part found.

    Raises
    ------
    InputError
        If there is no such part.
    """
    if unknown := set(only) - PARTS.keys():
        raise InputError(f"There is nothing called {', '.join(sorted(unknown))} to measure. Choose from: {', '.join(PARTS)}.")
    chosen = [name for name in PARTS if not only or name in only]
    answer: dict[str, Any] = {"machine": machine()}
    for name in chosen:
        answer[name] = yield from PARTS[name](cases)
    return answer
