"""The maps by which a method itself shows what it does: what SFEB adds (HA-Net), where boundaries are looked for (BReMS-Net)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_breastseg.case import Case, slices
from napari_breastseg.inference.grids import Grid
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import Canvas, Map
from napari_breastseg.progress import Job, Progress


def own_maps(case: Case, grids: Sequence[Grid], runner: Runner) -> Job[dict[str, Map]]:
    """Return the maps, shape (z, y, x), by their names; none of most methods.

    Parameters
    ----------
    case : Case
    grids : sequence of Grid
        Of the case, as the model sees it.
    runner : Runner

    Raises
    ------
    ComputeError
        If memory does not suffice.
    """
    maps: dict[str, Map] = {}
    total = sum(len(grid.windows) for grid in grids)
    done = 0
    for grid in grids:
        canvases: dict[str, Canvas] = {}
        for window in grid.windows:
            for name, values in runner.own_maps(grid.window(window)).items():
                canvases.setdefault(name, Canvas(grid.shape, grid.windows)).add(window, values)
            done += 1
            yield Progress(done, total, "Asking the method what it looks at")
        for name, canvas in canvases.items():
            maps.setdefault(name, np.zeros(case.shape, np.float32))[slices(grid.box)] = grid.to_case(canvas.mean())
    return maps
