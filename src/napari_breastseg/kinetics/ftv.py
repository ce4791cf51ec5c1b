"""Functional tumour volume (FTV) by the definition of the University of California, San Francisco.

In a region that a person draws around the tumour: voxels whose baseline is at least 0.60 of its 95th percentile in the region and whose PE
is at least 70 %, of whose 26 neighbours at least 4 pass the same two thresholds, and whose SER is not negative. The thresholds are the
defaults of UCSF's Breast DCE-MRI FTV extension of 3D Slicer; SER splits the volume into its colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Case, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.colours import SER_BINS
from napari_breastseg.kinetics.curves import baseline, percent_enhancement, signal_enhancement_ratio
from napari_breastseg.kinetics.reading import Mask, grown, inside, read
from napari_breastseg.kinetics.timing import Timing

Region: TypeAlias = Box | npt.NDArray[Any]
MARGIN_MM = 10.0
"""How far a region drawn around a tumour reaches beyond it."""


@dataclass(frozen=True)
class FtvSettings:
    """Thresholds of the FTV.

    Parameters
    ----------
    baseline_share, baseline_percentile : float
        S0 must reach this share of this percentile of S0 in the region.
    pe : float
        Least PE, %.
    neighbours : int
        Of the 26 around a voxel, how many must pass the thresholds of S0 and PE.
    ser : float
        Least SER.

    Raises
    ------
    InputError
        If a number cannot be a share, a percentile or a count of neighbours.
    """

    baseline_share: float = 0.60
    baseline_percentile: float = 95.0
    pe: float = 70.0
    neighbours: int = 4
    ser: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.baseline_share <= 1 and 0 <= self.baseline_percentile <= 100 and 0 <= self.neighbours <= 26):
            raise InputError("FTV takes a share from 0 to 1, a percentile from 0 to 100 and 0 to 26 neighbours. Correct its settings.")


@dataclass(frozen=True)
class Ftv:
    """A functional tumour volume.

    Attributes
    ----------
    ml : float
    mask : ndarray, shape (z, y, x), uint8
        1 where the voxels lie, on the case's grid.
    ser_ml : tuple of float
        mL of each of ``SER_BINS``.
    beyond_ml : float
        The rest: SER of 0 or above the last bin.
    name : str
        "FTV" if the phases lie where UCSF's do, else "FTV-like".
    reason : str
        Why it is called so.
    settings : FtvSettings
    """

    ml: float
    mask: npt.NDArray[np.uint8]
    ser_ml: tuple[float, ...]
    beyond_ml: float
    name: str
    reason: str
    settings: FtvSettings


def functional_tumour_volume(
    case: Case, timing: Timing, region: Region, omit: Sequence[Box] = (), settings: FtvSettings | None = None
) -> Ftv:
    """Measure the FTV in a region without the boxes in `omit`.

    As in UCSF's extension, neighbours count wherever they lie, within the region or not. The percentile is taken over the voxels that take
    part; the extension counts those of omitted boxes among them as zeros, which lowers its threshold a little where much is omitted.

    Parameters
    ----------
    case : Case
    timing : Timing
    region : Box, or ndarray of shape (z, y, x)
        A box, or a mask that is 1 in the region.
    omit : sequence of Box
        Skin, vessels, a marker: whatever is no tumour.
    settings : FtvSettings, optional

    Raises
    ------
    InputError
        If only one phase lies after the injection, the times are not those of this case, or the region is empty, off the case's grid, or
        wholly omitted.
    """
    if timing.phases != case.phases:
        raise InputError(f"{case.name} has {case.phases} phases, the times {timing.phases}. Give one time for each phase.")
    limits = settings or FtvSettings()
    used = (*timing.baseline, timing.pe, timing.ser_late)
    allowed = _allowed(case, region, omit)
    box = box_around(allowed)
    assert box is not None
    margin = grown(box, case)  # neighbours outside the region
    taking_part = allowed[slices(margin)]
    signals = read(case, margin, used)
    narrow = replace(timing, seconds=tuple(timing.seconds[phase] for phase in used))  # what was read: of it PE's is the last but one
    s0 = baseline(signals, narrow)
    threshold = limits.baseline_share * np.percentile(s0[taking_part], limits.baseline_percentile)
    passing = (s0 >= threshold) & (percent_enhancement(signals[-2], s0) >= limits.pe)
    ser = signal_enhancement_ratio(signals, narrow)
    tumour = taking_part & passing & (_neighbours(passing) >= limits.neighbours) & (ser >= limits.ser)
    mask = np.zeros(case.shape, np.uint8)
    mask[slices(margin)] = tumour
    ml = case.geometry.voxel_ml
    volume = ml * int(np.count_nonzero(tumour))
    found = ser[tumour]
    split = tuple(ml * int(np.count_nonzero((found > bin_.low) & (found <= bin_.high))) for bin_ in SER_BINS)
    return Ftv(volume, mask, split, max(0.0, volume - sum(split)), timing.ftv_name, timing.ftv_reason, limits)


def around(case: Case, mask: npt.NDArray[Any]) -> Mask:
    """Return a region to measure in, shape (z, y, x): the box around a tumour's mask, grown by `MARGIN_MM` as far as the image reaches.

    Raises
    ------
    InputError
        If the mask is empty or not on the case's grid.
    """
    box = box_around(inside(case, mask, "The tumour's mask"))
    assert box is not None
    grow = [round(MARGIN_MM / spacing) for spacing in case.geometry.spacing]
    z, y, x = (slice(max(0, low - more), high + more) for (low, high), more in zip(box, grow, strict=True))
    region = np.zeros(case.shape, np.bool_)
    region[z, y, x] = True
    return region


def _allowed(case: Case, region: Region, omit: Sequence[Box]) -> Mask:
    """Return the voxels that take part, shape (z, y, x)."""
    if isinstance(region, np.ndarray):
        allowed = inside(case, region, "The region")
    else:
        allowed = np.zeros(case.shape, np.bool_)
        allowed[slices(_within(case, region))] = True
    for box in omit:
        allowed[slices(_within(case, box))] = False
    if not allowed.any():
        raise InputError("Nothing of the region is left without what is omitted. Omit less, or draw a larger region.")
    return allowed


def _within(case: Case, box: Box) -> Box:
    """Refuse a box that is empty or reaches beyond the case."""
    if not all(0 <= low < high <= length for (low, high), length in zip(box, case.shape, strict=True)):
        raise InputError(f"The box {box} does not lie in {case.name}, which has {case.shape} voxels (z, y, x). Draw it within the image.")
    return box


def _neighbours(passing: Mask) -> npt.NDArray[np.uint8]:
    """Count the true voxels among the 26 around each."""
    kernel = np.ones((3, 3, 3), np.uint8)
    kernel[1, 1, 1] = 0
    count: npt.NDArray[np.uint8] = ndimage.convolve(passing.astype(np.uint8), kernel, mode="constant")
    return count
