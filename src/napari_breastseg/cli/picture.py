"""A picture of learning rounds: image, prediction, corrections, next prediction, each with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED
from napari_breastseg.session import Session

PREDICTED, PAINTED, ERASED, TRUTH = "#ffb000", "#fe6100", "#648fff", "#00e5a8"
"""Colours that people with colour-blindness can tell apart."""
MARGIN = 12
"""Pixels that are shown around tumour and corrections."""

Plane = npt.NDArray[np.bool_]


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
    annotation = session.annotation(case_id)
    z = _slice(annotation, truth)
    view = _View(case.phase(min(1, case.phases - 1))[z], truth[z] == TUMOUR, annotation[z] != UNDECIDED, case.geometry.spacing[1:])
    seqs = [0, *(row.seqs.get(case_id, 0) for row in session.rounds())]
    predictions = [session.prediction(case_id, row.id) for row in session.predictions(case_id)]
    figure = Figure(figsize=(3.2 * (len(rounds) + 1), 7.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(2, len(rounds) + 1, squeeze=False)
    view.whole(axes[0, 0], f"First post-contrast phase, axial slice {z}\n(frame: the part shown beside)")
    view.part(axes[1, 0], "The tumour of the phantom")
    for column, (row, prediction) in enumerate(zip(rounds, predictions, strict=False), 1):
        if prediction is not None:
            verdict = "before learning" if row["round"] == 0 else "adopted" if row["adopted"] else "not adopted"
            title = f"Round {row['round']}: prediction\nDice {row['dice']:.2f}, {verdict}"
            view.part(axes[0, column], title, (prediction.refined[z] == TUMOUR, PREDICTED))
        if column < min(len(seqs), len(rounds)):
            said = session.annotation(case_id, seqs[column])[z]
            title = f"Corrections so far\n{rounds[column]['strokes']} strokes for round {rounds[column]['round']}"
            view.part(axes[1, column], title, (said == TUMOUR, PAINTED), (said == BACKGROUND, ERASED))
        else:
            axes[1, column].set_visible(False)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


class _View:
    """One slice, whole or cut to what matters in it."""

    def __init__(self, image: npt.NDArray[Any], truth: Plane, corrected: Plane, spacing: tuple[float, ...]) -> None:
        self.image, self.truth = image, truth
        self.white = float(np.quantile(image, 0.998))
        self.aspect = spacing[0] / spacing[1]
        rows, columns = np.nonzero(truth | corrected)
        if not len(rows):
            rows, columns = (np.array([0, n - 1]) for n in image.shape)
        half = max(np.ptp(rows), np.ptp(columns)) / 2 + MARGIN
        middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        self.y, self.x = ((max(-0.5, c - half), min(n - 0.5, c + half)) for c, n in zip(middle, image.shape, strict=True))

    def whole(self, axis: Axes, title: str) -> None:
        self._image(axis, title)
        axis.add_patch(Rectangle((self.x[0], self.y[0]), self.x[1] - self.x[0], self.y[1] - self.y[0], fill=False, edgecolor="white"))

    def part(self, axis: Axes, title: str, *layers: tuple[Plane, str]) -> None:
        self._image(axis, title)
        for mask, colour in layers:
            tint = np.zeros((*mask.shape, 4))
            tint[mask] = (*to_rgb(colour), 0.5)
            axis.imshow(tint, aspect=self.aspect, interpolation="nearest")
        if self.truth.any():
            axis.contour(self.truth, levels=[0.5], colors=[TRUTH], linewidths=1.2)
        axis.set(xlim=self.x, ylim=self.y[::-1])

    def _image(self, axis: Axes, title: str) -> None:
        axis.imshow(self.image, cmap="gray", vmin=0, vmax=self.white, aspect=self.aspect)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()


def _slice(annotation: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> int:
    """The axial slice with most corrections among those that show tumour."""
    corrected = ((annotation == TUMOUR) | (annotation == BACKGROUND)).sum(axis=(1, 2))
    shown = (truth == TUMOUR).sum(axis=(1, 2))
    return int(np.argmax(np.where(shown > 0, corrected + shown / (shown.max() + 1), -1)))


def _legend() -> list[Any]:
    patches = [Patch(color=c, alpha=0.55, label=t) for c, t in ((PREDICTED, "predicted"), (PAINTED, "painted tumour"), (ERASED, "erased"))]
    return [*patches, Line2D([], [], color=TRUTH, label="truth")]
