"""Measures how long napari's window stands still while a case is predicted: drives the dock on a full examination, with a heartbeat.

    xvfb-run -a env QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 python benchmarks/responsiveness.py --json FILE   (Linux, without a screen)

A timer of the window's event loop should fire every few milliseconds; the gaps between its beats are what a person feels. The slider is
moved all the while, once a quarter of a second, as somebody would who looks around. The same is measured without a prediction, so that
what drawing itself costs (without a GPU it is much) is not counted twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.evaluation.benchmarks.inference.exams import full_exams
from napari_breastseg.evaluation.benchmarks.timing import machine

BEAT_MS, SCROLL_MS = 5, 250


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="160x448x448", help="voxels z x y x x of the examination")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to keep the result")
    options = parser.parse_args()
    z, y, x = map(int, options.shape.split("x"))
    found = measure((z, y, x), options.repeats)
    for name in ("idle", "predicting"):
        print(name, found[name])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(shape: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """Predict an examination in the dock; return the distribution of the gaps between beats, ms, with and without a prediction."""
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    (phantom,) = full_exams(1, shape)
    viewer = napari.Viewer()
    viewer.window.resize(1500, 950)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    app = QApplication.instance()
    beats: list[float] = []
    beat, scroll = QTimer(), QTimer()
    beat.timeout.connect(lambda: beats.append(time.perf_counter()))
    beat.start(BEAT_MS)
    scroll.timeout.connect(lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, int(time.perf_counter() * 4) % shape[0]))

    def live(until: Callable[[], bool], seconds: float) -> list[float]:
        """Let the window live; return the gaps between the beats, ms."""
        beats.clear()
        end = time.perf_counter() + seconds
        while not until() and time.perf_counter() < end:
            app.processEvents()
            time.sleep(0.001)
        return (np.diff(beats) * 1000).tolist()

    with tempfile.TemporaryDirectory() as folder:
        dock.desk.use_case(phantom.case, Path(folder) / "session")
        live(lambda: dock.predict.predict.isEnabled(), 120)
        live(lambda: False, 3)
        scroll.start(SCROLL_MS)
        idle = live(lambda: False, 10)
        gaps, seconds = [], []
        for number in range(repeats + 1):  # the first loads the libraries and compiles the network
            began = time.perf_counter()
            dock.predict.predict.click()
            ended: list[float] = []

            def over(start: float, ended: list[float]) -> bool:
                """Tell whether the prediction has ended, and what it shows in the end has been drawn for a second."""
                now = time.perf_counter()
                if not ended and now > start + 1 and not dock.desk.jobs.busy:
                    ended.append(now)
                return bool(ended) and now > ended[0] + 1

            found = live(partial(over, began, ended), 300)
            seconds.append(ended[0] - began)
            gaps.append(found)
            print(f"prediction {number}: {seconds[-1]:.1f} s, longest gap {max(found):.0f} ms")
        scroll.stop()
        viewer.close()
    return {
        "machine": machine(),
        "shape": list(shape),
        "seconds": [round(value, 2) for value in seconds],
        "idle": _distribution(idle),
        "first": _distribution(gaps[0]),
        "predicting": _distribution([gap for found in gaps[1:] for gap in found]),
    }


def _distribution(gaps: list[float]) -> dict[str, float]:
    values = np.array(gaps)
    quantiles = {f"p{q:g}_ms": round(float(np.percentile(values, q)), 1) for q in (50, 90, 99, 99.9)}
    return {"beats": len(values), **quantiles, "longest_ms": round(float(values.max()), 1), "over_100_ms": int((values > 100).sum())}


if __name__ == "__main__":
    main()
