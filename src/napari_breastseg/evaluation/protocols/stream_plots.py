"""Plots of the streams: how good the model is before any correction, what a case costs, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_breastseg.evaluation.protocols.figures import Record, before, needed
from napari_breastseg.evaluation.protocols.recipes import RECIPES

_HUES = ("#000000", "#999999", "#d55e00", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#f0e442")  # Okabe and Ito's, and grey
COLOURS = dict(zip(RECIPES, _HUES, strict=True))
"""Okabe and Ito's: people with colour-blindness can tell them apart."""
WINDOW = 5
"""Cases over which a curve is averaged."""

Curve = npt.NDArray[np.float64]


def draw_streams(groups: Mapping[str, Sequence[Record]], folder: Path) -> list[Path]:
    """Draw the plots of all recipes as PNG files into `folder` and return their paths."""
    plots: list[tuple[str, str, Callable[[Record], Curve]]] = [
        ("dice-before", f"Dice before any correction\n(mean of the last {WINDOW} cases)", lambda record: _smooth(before(record))),
        ("corrections", f"Corrections to Dice 0.85\n(mean of the last {WINDOW} cases)", lambda record: _smooth(needed(record, 0.85))),
        ("forgetting", "Dice on the base set, minus the base model's", lambda record: _set_curve(record, "base")),
        ("new-domain", "Dice on cases never corrected, minus the base model's", lambda record: _set_curve(record, "shifted")),
    ]
    return [_plot(groups, folder / f"{name}.png", label, curve) for name, label, curve in plots]


def _plot(groups: Mapping[str, Sequence[Record]], path: Path, label: str, curve: Callable[[Record], Curve]) -> Path:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for name, records in groups.items():
        curves = np.array([curve(record) for record in records])
        seen = np.arange(1, curves.shape[1] + 1)
        axes.plot(seen, curves.mean(0), color=COLOURS[name], label=RECIPES[name].label)
        if len(curves) > 1:
            axes.fill_between(seen, curves.min(0), curves.max(0), color=COLOURS[name], alpha=0.12, linewidth=0)
    axes.set_xlabel("cases seen")
    axes.set_ylabel(label)
    axes.legend(fontsize=7)
    axes.set_title(f"{max(map(len, groups.values()))} stream(s); shaded: from the lowest to the highest", fontsize=8)
    figure.savefig(path, dpi=150)
    return path


def _smooth(values: Sequence[float]) -> Curve:
    """Mean of each value and the ones before it, up to WINDOW in all."""
    return np.array([np.mean(values[max(0, end - WINDOW) : end]) for end in range(1, len(values) + 1)])


def _set_curve(record: Record, name: str) -> Curve:
    """Mean on a fixed set, relative to the base model, of the version that was current after each case."""
    adopted = {row["after"]: float(np.mean(row["sets"][name])) for row in record["rounds"] if row["adopted"]}
    base = current = float(np.mean(record["base"][name]))
    found = []
    for after in range(1, len(record["cases"]) + 1):
        current = adopted.get(after, current)
        found.append(current - base)
    return np.array(found)
