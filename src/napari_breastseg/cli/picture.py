"""A picture of learning rounds: image, prediction, corrections, next prediction, each with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from napari_breastseg.case import BACKGROUND, TUMOUR
from napari_breastseg.session import Session

PREDICTED, PAINTED, ERASED, TRUTH = "#ffb000", "#fe6100", "#648fff", "#00e5a8"
"""Colours that people with colour-blindness can tell apart."""


def draw_rounds(session: Session, case_id: str, truth: npt.NDArray[np.uint8], rounds: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the axial slice with most corrections: the image, then per round the prediction and the corrections made on it.

    Parameters
    ----------
    session : Session
    case_id : str
    truth : ndarray, shape (z, y, x)
    rounds : sequence of dict
        As :func:`napari_breastseg.evaluation.simulate.simulate` reports them.
    path : Path
        PNG file; a file of that name is replaced.
    """
    case = session.case(case_id)
    z = _slice(session.annotation(case_id), truth)
    image = case.phase(min(1, case.phases - 1))[z]
    seqs = [0, *(row.seqs.get(case_id, 0) for row in session.rounds())]
    predictions = [session.prediction(case_id, row.id) for row in session.predictions(case_id)]
    columns = len(rounds) + 1
    figure = Figure(figsize=(3.1 * columns, 7.2), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    aspect = case.geometry.spacing[1] / case.geometry.spacing[2]
    for axis in axes.flat:
        axis.imshow(image, cmap="gray", vmin=0, vmax=float(np.quantile(image, 0.998)), aspect=aspect)
        axis.set_axis_off()
    axes[0, 0].set_title(f"First post-contrast phase\naxial slice {z}")
    axes[1, 0].set_title("Truth of the phantom")
    _outline(axes[1, 0], truth[z] == TUMOUR, TRUTH)
    for column, (row, prediction) in enumerate(zip(rounds, predictions, strict=False), 1):
        if prediction is not None:
            _tint(axes[0, column], prediction.refined[z] == TUMOUR, PREDICTED)
        verdict = "before learning" if row["round"] == 0 else "adopted" if row["adopted"] else "not adopted"
        axes[0, column].set_title(f"Round {row['round']}: prediction\nDice {row['dice']:.2f}, {verdict}")
        _outline(axes[0, column], truth[z] == TUMOUR, TRUTH)
        if column < len(seqs):
            said = session.annotation(case_id, seqs[column])[z]
            _tint(axes[1, column], said == TUMOUR, PAINTED)
            _tint(axes[1, column], said == BACKGROUND, ERASED)
            _outline(axes[1, column], truth[z] == TUMOUR, TRUTH)
            axes[1, column].set_title(f"Corrections so far\n{rounds[column]['strokes']} strokes in this round")
        else:
            axes[1, column].set_visible(False)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _slice(annotation: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> int:
    """The axial slice with most corrections among those that show tumour."""
    corrected = ((annotation == TUMOUR) | (annotation == BACKGROUND)).sum(axis=(1, 2))
    shown = (truth == TUMOUR).sum(axis=(1, 2))
    return int(np.argmax(np.where(shown > 0, corrected + shown / (shown.max() + 1), -1)))


def _tint(axis: Axes, mask: npt.NDArray[np.bool_], colour: str) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = (red, green, blue, 0.55)
    axis.imshow(layer, aspect=axis.get_aspect(), interpolation="nearest")


def _outline(axis: Axes, mask: npt.NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)


def _legend() -> list[Any]:
    patches = [Patch(color=c, alpha=0.55, label=t) for c, t in ((PREDICTED, "predicted"), (PAINTED, "painted tumour"), (ERASED, "erased"))]
    return [*patches, Line2D([], [], color=TRUTH, label="truth")]
