"""The clusters of a case's curves: a map, and the mean curve of each. The core is imported, and torch with it, on the worker thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.kinetics import Curve, Timing
from napari_breastseg.progress import Job, Progress
from napari_breastseg.widgets.view.explain_layers import cluster_colours


@dataclass(frozen=True)
class Clusters:
    """Attributes: `labels` (z, y, x), 0 where there is no curve and else the cluster from 1 on; `curves`, one for each cluster.

    The curves are means of curves whose baseline is 100.
    """

    labels: npt.NDArray[np.uint8]
    curves: tuple[Curve, ...]

    @property
    def colours(self) -> list[str]:
        """One for each cluster."""
        return cluster_colours(len(self.curves))


def clustering(case: Case, timing: Timing) -> Job[Clusters]:
    """Give every voxel of the breasts the cluster of its curve."""
    yield Progress(0, 1, "Finding the breasts")
    from napari_breastseg.kinetics.clustering import cluster_map, starter_codebook
    from napari_breastseg.preprocess.breast_region import breast_mask
    from napari_breastseg.preprocess.overview import Overview

    codebook = starter_codebook()
    found = yield from cluster_map(case, timing.seconds, breast_mask(Overview.of(case)), codebook)
    curves = []
    for label in range(1, codebook.clusters + 1):
        one = found.curves.get(label)
        curves.append(Curve(np.zeros(case.phases), np.zeros(case.phases), 0) if one is None else Curve(100 + one.pe, one.pe_sd, one.voxels))
    return Clusters(np.where(found.labels == codebook.non_enhancing, np.uint8(0), found.labels), tuple(curves))
