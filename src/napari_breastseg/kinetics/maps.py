"""Kinetic maps of a whole case: PE, SER, slopes and curve types of every voxel of the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, whole
from napari_breastseg.kinetics import curves
from napari_breastseg.kinetics.curves import Thresholds, Values
from napari_breastseg.kinetics.reading import inside, read, slabs
from napari_breastseg.kinetics.timing import Timing
from napari_breastseg.progress import Job, Progress

AIR = 0.12
"""Share of the 99th percentile of a case's signal, each voxel's averaged over the phases, below which a voxel is air."""
_LARGEST = np.float32(np.finfo(np.float16).max)

Half = npt.NDArray[np.float16]


@dataclass(frozen=True)
class KineticMaps:
    """Maps of shape (z, y, x), 0 in the air; float16, which is more exact than any of them is measured. Sum them in float32.

    Attributes
    ----------
    pe : ndarray, float16
        % at the phase nearest to 150 s.
    wash_in : ndarray, float16
        % of S0 per minute.
    ser, wash_out : ndarray, float16, or None
        Ratio, and % of the early signal per minute; None where only one phase lies after the injection.
    type : ndarray, uint8, or None
        Index into ``CURVES``; None likewise.
    """

    pe: Half
    wash_in: Half
    ser: Half | None
    wash_out: Half | None
    type: npt.NDArray[np.uint8] | None


def kinetic_maps(
    case: Case, timing: Timing, body: npt.NDArray[Any] | None = None, thresholds: Thresholds | None = None
) -> Job[KineticMaps]:
    """Compute the kinetic maps of a case slab by slab, so that a lazy one is never in memory as a whole.

    Parameters
    ----------
    case : Case
    timing : Timing
    body : ndarray, shape (z, y, x), optional
        1 where the maps are wanted. Without it the body is told from the air by its signal, see `AIR`: averaged over the phases, because
        the noise of the baseline alone would leave much of the air.
    thresholds : Thresholds, optional
        Of the curve types.

    Raises
    ------
    InputError
        If the times are not those of this case, the mask is empty or on another grid, or voxels are not finite.
    """
    tissue = None if body is None else inside(case, body, "The body mask")
    found: dict[str, npt.NDArray[Any]] = {}
    depth = case.shape[0]
    for slab in slabs(case, whole(case.shape)):
        low, high = slab[0]
        yield Progress(low, depth, f"Kinetic maps: slices {low + 1} to {high} of {depth}")
        for z, signals in enumerate(np.moveaxis(read(case, slab), 1, 0), low):  # one slice at a time stays in the processor's cache
            for name, values in _measures(signals, timing, thresholds).items():
                found.setdefault(name, np.empty(case.shape, values.dtype))[z] = values
    brightness = found.pop("brightness")
    if tissue is None:
        tissue = brightness > AIR * np.percentile(brightness[::2, ::2, ::2], 99)
    for volume in found.values():
        np.multiply(volume, tissue, out=volume)
    return KineticMaps(found["pe"], found["wash_in"], found.get("ser"), found.get("wash_out"), found.get("type"))


def _measures(signals: Values, timing: Timing, thresholds: Thresholds | None) -> dict[str, npt.NDArray[Any]]:
    """Return every measure of signals (phase, ...), and the mean over the phases."""
    pe = curves.percent_enhancement(signals[timing.pe], curves.baseline(signals, timing))
    found = {"brightness": signals.mean(axis=0), "pe": _half(pe), "wash_in": _half(curves.wash_in(signals, timing))}
    if timing.delayed:
        found["ser"] = _half(curves.signal_enhancement_ratio(signals, timing))
        found["wash_out"] = _half(curves.wash_out(signals, timing))
        found["type"] = curves.curve_type(signals, timing, thresholds)
    return found


def _half(values: Values) -> Half:
    """Round to float16, within its range."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)
