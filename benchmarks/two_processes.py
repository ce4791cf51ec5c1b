"""Two processes beside each other, a viewer and a learning round for instance, with threads of torch that spin while they wait and without.

Each process runs the practical network on a window again and again; with one process it has all processors for itself. Medians, and ratios
to one process whose threads do not spin, side by side in one run, to results/two_processes.json::

    python benchmarks/two_processes.py
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

RESULT = Path(__file__).parent / "results" / "two_processes.json"
RUNS, EDGE = 20, 64
USUAL = {"GOMP_SPINCOUNT": "300000"}
"""What GNU OpenMP does if nobody says anything."""
WORK = f"""
import napari_breastseg, time, torch
from napari_breastseg import load_model
network = load_model("hcma-unet").network()
window = torch.zeros(1, 2, {EDGE}, {EDGE}, {EDGE})
with torch.inference_mode():
    network(window)
    for _ in range({RUNS}):
        started = time.perf_counter()
        network(window)
        print(time.perf_counter() - started)
"""


def seconds(processes: int, environment: dict[str, str]) -> float:
    """Median seconds of a window, over all runs of all processes."""
    usual = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", WORK]
    started = [subprocess.Popen(command, env=usual | environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return median(float(line) for process in started for line in process.communicate()[0].split())


def main() -> None:
    """Measure and write."""
    found = {
        f"{processes} process(es), {name}": seconds(processes, environment)
        for processes in (1, 2)
        for name, environment in (("as shipped", {}), ("spinning", USUAL))
    }
    alone = found["1 process(es), as shipped"]
    import torch

    report = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "seconds": {name: round(value, 3) for name, value in found.items()},
        "of one process as shipped": {name: round(value / alone, 2) for name, value in found.items()},
    }
    RESULT.write_text(json.dumps(report, indent=4) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
