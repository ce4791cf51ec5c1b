"""Draws real time-intensity curves with the types that the package gives them: the picture of docs/kinetics.md.

NAPARI_BREASTSEG_DATA=FOLDER python docs/make_curves.py [--out docs/images/real_curves.png]
"""

from __future__ import annotations

import argparse
import gzip
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from napari_breastseg.case import Case, Geometry
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.kinetics import CURVE_COLOURS, Timing, describe, lesion_curve, timing_from, timing_of
from napari_breastseg.kinetics.curves import CURVES, baseline, percent_enhancement

EARLIEST = -100.0
"""s; what was taken before is drawn here."""
Curves = npt.NDArray[np.float64]


def main() -> None:
    """Draw the three panels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "real_curves.png")
    out: Path = parser.parse_args().out
    data = Path(os.environ["NAPARI_BREASTSEG_DATA"])
    figure, panels = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")

    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    tumour = lesion_curve(case, read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case))
    _draw(panels[0], timing_of(case), tumour.mean[:, None], "Duke-Breast-Cancer-MRI 153: tumour (mean)")

    stored = np.load(data / "dcemri_jl_invivo" / "invivo_dce.npz")
    fast = Case("fast", stored["dce"][:, None], Geometry((1.0, 1.0, 1.0), np.eye(4), (192, 192, 1)), tuple(map(float, stored["t_s"])))
    mean = lesion_curve(fast, stored["tumour_semiauto"][None]).mean
    _draw(panels[1], timing_of(fast, injection=60.0), mean[:, None], "DCEMRI.jl in vivo: tumour (mean), 16 s a phase")

    signals, seconds = _qin(data / "qin_breast_tic" / "QINBreast001-phantom.nrrd")
    _draw(panels[2], timing_from(seconds, len(seconds), 95.0), signals, "QIN-Breast-DCE-MRI-BC05: 15 voxels, 18 s a phase")
    figure.savefig(out, dpi=110)


def _draw(axes: Axes, timing: Timing, signals: Curves, title: str) -> None:
    """Draw curves (phase, curve) as percent enhancement over seconds, in the colour of their types."""
    kinds = []
    for signal in signals.T:
        kind = describe(signal, timing).type
        assert kind is not None
        kinds.append(kind)
        enhancement = percent_enhancement(signal, baseline(signal, timing))
        shown = np.maximum(timing.seconds, EARLIEST)
        axes.plot(shown, enhancement, "o-", color=CURVE_COLOURS[kind], markersize=3, linewidth=1, alpha=0.8)
    words = ", ".join(f"{kinds.count(kind)} {CURVES[kind]}" if len(kinds) > 1 else CURVES[kind] for kind in sorted(set(kinds)))
    axes.axvline(timing.seconds[timing.early], color="0.6", linestyle=":", linewidth=1)
    axes.set_title(f"{title}\n{words}", fontsize=9)
    axes.set_xlabel("s after the injection")
    axes.set_ylabel("enhancement, %")
    if timing.seconds[0] < EARLIEST:
        axes.annotate(f"{timing.seconds[0] / 60:.0f} min", (EARLIEST, 0), (0, 8), textcoords="offset points", ha="center", fontsize=8)
    axes.grid(alpha=0.2)


def _qin(path: Path) -> tuple[Curves, list[float]]:
    """Return the curves (phase, curve) of an NRRD file with the phases as its first axis, and their seconds."""
    header, _, packed = path.read_bytes().partition(b"\n\n")
    (labels,) = (line for line in header.decode().splitlines() if line.startswith("MultiVolume.FrameLabels:="))
    seconds = [float(label) / 1000 for label in labels.partition(":=")[2].split(",")]
    return np.frombuffer(gzip.decompress(packed), "<u2").reshape(-1, len(seconds)).T.astype(np.float64), seconds


if __name__ == "__main__":
    main()
