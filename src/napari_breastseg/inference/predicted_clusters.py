"""The cluster map that HCNet predicts before contrast: how it expects the tissue to take contrast up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, slices
from napari_breastseg.inference.grids import Grid
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import Canvas, Map
from napari_breastseg.progress import Job, Progress

CLUSTERS = "clusters-predicted"
"""Name of the map."""


def predicted_clusters(case: Case, grids: Sequence[Grid], runner: Runner) -> Job[npt.NDArray[np.uint8]]:
    """Return the likeliest cluster of each voxel, shape (z, y, x): 0 outside the breast, else the cluster's number in the codebook.

    Parameters
    ----------
    case : Case
    grids : sequence of Grid
        Of the case, as the model sees it.
    runner : Runner
        With an HCNet.

    Raises
    ------
    ComputeError
        If memory does not suffice.
    """
    labels = np.zeros(case.shape, np.uint8)
    total = sum(len(grid.windows) for grid in grids)
    done = 0
    for grid in grids:
        canvas = Canvas(grid.shape, grid.windows)
        sums: Map | None = None
        for window in grid.windows:
            found = runner.heterogeneity(grid.window(window)) * canvas.importance(window)
            sums = np.zeros((len(found), *grid.shape), np.float32) if sums is None else sums
            sums[(slice(None), *slices(window))] += found
            done += 1
            yield Progress(done, total, "Predicting the clusters")
        assert sums is not None
        likeliest = sums.argmax(0).astype(np.uint8)
        place = labels[slices(grid.box)]
        z, y, x = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(place.shape, grid.shape, strict=True))
        np.maximum(place, likeliest[np.ix_(z, y, x)], out=place)
    return labels
