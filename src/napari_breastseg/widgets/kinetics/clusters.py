"""The clusters of a case's curves: a map, and the mean curve of each. The core is imported, and torch with it, on the worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from napari.utils.colormaps import ensure_colormap

from napari_breastseg.case import Case, whole
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Curve, Timing
from napari_breastseg.kinetics.curves import baseline, percent_enhancement
from napari_breastseg.kinetics.reading import read, slabs
from napari_breastseg.progress import Job, Progress, retold

if TYPE_CHECKING:
    from napari_breastseg.kinetics.clustering.codebook import Codebook

DRAWN = 60_000
"""Voxels whose curves a codebook is fitted to."""
LEAST_PE = 20.0
"""Voxels whose highest PE stays below have no curve to cluster: their normalised noise would be taken for one."""
Breast = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Clusters:
    """Attributes: `labels` (z, y, x), 0 where there is no curve and else the cluster from 1 on; `curves`, one for each cluster."""

    labels: npt.NDArray[np.uint8]
    curves: tuple[Curve, ...]

    @property
    def colours(self) -> list[str]:
        """One for each cluster, from slow to fast uptake and from persistent to wash-out."""
        return colours_of(len(self.curves))


def colours_of(count: int) -> list[str]:
    """Return as many colours in the order of the rainbow, without its dark ends."""
    found = ensure_colormap("turbo").map(np.linspace(0.08, 0.92, count))
    return ["#" + "".join(f"{round(255 * float(part)):02x}" for part in colour[:3]) for colour in found]


def clustering(case: Case, timing: Timing) -> Job[Clusters]:
    """Cluster the curves of a case's breasts."""
    yield Progress(0, 1, "Finding the breasts")
    breast = _breast(case)
    codebook = yield from codebook_for(case, timing, breast)
    return (yield from _mapped(case, timing, breast, codebook))


def codebook_for(case: Case, timing: Timing, breast: Breast) -> Job[Codebook]:
    """Return the codebook that tells the clusters: one that is fitted to the case itself."""
    from napari_breastseg.kinetics.clustering.curves import Curves
    from napari_breastseg.kinetics.clustering.fit import fit_clusters
    from napari_breastseg.kinetics.clustering.grid import normalise

    rng = np.random.default_rng(0)
    share, drawn, depth = DRAWN / max(1, int(np.count_nonzero(breast))), [], case.shape[0]
    for slab in slabs(case, whole(case.shape)):
        yield Progress(slab[0][0], depth, "Drawing curves")
        signals = read(case, slab)[:, breast[slab[0][0] : slab[0][1]]]
        signals = signals[:, rng.random(signals.shape[1]) < share]
        drawn.append(signals[:, _enhances(signals, timing)])
    signals = np.concatenate(drawn, axis=1)
    if not signals.size:
        raise InputError("Nothing in the breasts enhances, so there are no curves to cluster. Check the order of the phases.")
    job = fit_clusters([Curves(normalise(signals)[0], timing.seconds)])
    return (yield from retold(job, lambda step: Progress(step.step, step.total, "Learning the clusters")))


def _mapped(case: Case, timing: Timing, breast: Breast, codebook: Codebook) -> Job[Clusters]:
    from napari_breastseg.kinetics.clustering.apply import Labeller
    from napari_breastseg.kinetics.clustering.grid import normalise

    labeller, count = Labeller.of(codebook, timing.seconds), codebook.clusters
    labels = np.zeros(case.shape, np.uint8)
    sums, squares = np.zeros((2, case.phases, count + 1))
    voxels = np.zeros(count + 1, np.int64)
    for slab in slabs(case, whole(case.shape)):
        low, high = slab[0]
        yield Progress(low, case.shape[0], f"Clusters: slices {low + 1} to {high} of {case.shape[0]}")
        signals = read(case, slab)
        where = breast[low:high] & _enhances(signals, timing)
        curves = signals[:, where]
        found = labeller.label(normalise(curves)[0])
        labels[low:high][where] = found
        voxels += np.bincount(found, minlength=count + 1)
        for phase, values in enumerate(curves.astype(np.float64)):
            sums[phase] += np.bincount(found, values, count + 1)
            squares[phase] += np.bincount(found, values**2, count + 1)
    there = np.maximum(voxels, 1)
    means = sums / there
    spread = np.sqrt(np.maximum(squares / there - means**2, 0))
    return Clusters(labels, tuple(Curve(means[:, k], spread[:, k], int(voxels[k])) for k in range(1, count + 1)))


def _breast(case: Case) -> Breast:
    from napari_breastseg.preprocess.breast_region import breast_mask
    from napari_breastseg.preprocess.overview import Overview

    return breast_mask(Overview.of(case), case.shape)


def _enhances(signals: npt.NDArray[np.float32], timing: Timing) -> Breast:
    """Tell which signals (phase, ...) enhance at all."""
    return percent_enhancement(signals[list(timing.after)].max(axis=0), baseline(signals, timing)) >= LEAST_PE
