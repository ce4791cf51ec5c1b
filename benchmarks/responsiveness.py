"""Measures how long napari's window stands still while a case is predicted: drives the dock on a full examination, with a heartbeat.

    xvfb-run -a env QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 python benchmarks/responsiveness.py --json FILE   (Linux, without a screen)

A timer of the window's event loop should fire every few milliseconds; the gaps between its beats are what a person feels. It is measured
while the slider rests, and again while it is moved four times a second, as somebody would who looks around; and then without a prediction,
too, so that what drawing and reading slices cost (without a GPU it is much) is not taken for the prediction's. Python collects its garbage
now and then, in napari with all that it loads a third of a second at a time: gaps in which it did are counted, and the longest of the
others is told. Quantiles count beats, of which a standstill lets few pass: so the share of the time that passed in long gaps is told, too.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_breastseg.case import Case, Geometry

BEAT_MS, SCROLL_MS = 5, 250
Gap: TypeAlias = tuple[float, bool]
"""Milliseconds between two beats, and whether Python looked through all of its objects for garbage then."""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="160x448x448", help="voxels z x y x x of the examination")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to keep the result")
    options = parser.parse_args()
    z, y, x = map(int, options.shape.split("x"))
    found = measure((z, y, x), options.repeats)
    for name, gaps in list(found.items())[2:]:
        print(name, gaps)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(shape: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """Predict an examination in the dock; return the distribution of the gaps between beats, ms."""
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    case = make_case(shape)
    viewer = napari.Viewer()
    viewer.window.resize(1500, 950)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    app = QApplication.instance()
    beats: list[float] = []
    collections: list[float] = []  # when each began
    gc.callbacks.append(
        lambda phase, info: collections.append(time.perf_counter()) if phase == "start" and info["generation"] == 2 else None
    )
    beat, scroll = QTimer(), QTimer()
    beat.timeout.connect(lambda: beats.append(time.perf_counter()))
    beat.start(BEAT_MS)
    scroll.timeout.connect(lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, int(time.perf_counter() * 4) % shape[0]))

    def live(until: Callable[[], bool], seconds: float) -> list[Gap]:
        """Let the window live; return the gaps between the beats."""
        beats.clear()
        end = time.perf_counter() + seconds
        while not until() and time.perf_counter() < end:
            app.processEvents()
            time.sleep(0.001)
        return [(1000 * (b - a), any(a <= start < b for start in collections)) for a, b in itertools.pairwise(beats)]

    def predicted(name: str) -> list[Gap]:
        """Predict; return the gaps until what it shows in the end has been drawn for a second."""
        began = time.perf_counter()
        dock.predict.predict.click()
        ended: list[float] = []

        def over() -> bool:
            now = time.perf_counter()
            if not ended and now > began + 1 and not dock.desk.jobs.busy:
                ended.append(now)
            return bool(ended) and now > ended[0] + 1

        found = live(over, 300)
        print(f"{name}: {ended[0] - began:.1f} s, longest gap {max(found)[0]:.0f} ms")
        return found

    with tempfile.TemporaryDirectory() as folder:
        dock.desk.use_case(case, Path(folder) / "session")
        live(lambda: dock.predict.predict.isEnabled(), 120)
        live(lambda: False, 3)
        gaps = {"first prediction": predicted("first prediction")}  # which loads the libraries and compiles the network
        gaps["predicting"] = [gap for _ in range(repeats) for gap in predicted("predicting")]
        scroll.start(SCROLL_MS)
        gaps["scrolling"] = live(lambda: False, 10)
        gaps["predicting and scrolling"] = [gap for _ in range(repeats) for gap in predicted("predicting and scrolling")]
        scroll.stop()
        viewer.close()
    from napari_breastseg.evaluation.benchmarks.timing import machine

    return {"machine": machine(), "shape": list(shape), **{name: _distribution(found) for name, found in gaps.items()}}


def make_case(shape: tuple[int, int, int]) -> Case:
    """Make an examination in a process of its own: here no library is to be loaded before the first prediction loads it."""
    code = (
        "import sys; from pathlib import Path; from napari_breastseg.evaluation.benchmarks.inference.exams import full_exams, keep\n"
        "(phantom,) = full_exams(1, tuple(map(int, sys.argv[2:]))); keep(phantom.case, Path(sys.argv[1]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, folder, *map(str, shape)], check=True)
        images, affine, spacing = (np.load(Path(folder) / f"{name}.npy") for name in ("images", "affine", "spacing"))
    z, y, x = spacing.tolist()
    return Case("exam", images, Geometry((z, y, x), affine, shape[::-1]))


def _distribution(gaps: list[Gap]) -> dict[str, float]:
    values = np.array([ms for ms, _ in gaps])
    quantiles = {f"p{q:g}_ms": round(float(np.percentile(values, q)), 1) for q in (50, 90, 99, 99.9)}
    return {
        "beats": len(values),
        **quantiles,
        "share_of_time_over_50_ms": round(float(values[values > 50].sum() / values.sum()), 4),
        "share_of_time_over_100_ms": round(float(values[values > 100].sum() / values.sum()), 4),
        "longest_ms": round(float(values.max()), 1),
        "over_100_ms": int((values > 100).sum()),
        "of_these_collecting_garbage": sum(collecting for ms, collecting in gaps if ms > 100),
        "longest_otherwise_ms": round(max(ms for ms, collecting in gaps if not collecting), 1),
    }


if __name__ == "__main__":
    main()
