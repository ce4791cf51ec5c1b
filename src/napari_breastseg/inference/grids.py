"""A case on a model's working grid: one box per breast, and the windows that cover it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_breastseg.case import Box, Case, Modality, slices, whole
from napari_breastseg.errors import InputError
from napari_breastseg.inference.windows import Map, plan_windows
from napari_breastseg.methods.preset import Preset
from napari_breastseg.preprocess.breast_region import BreastRegion, breast_region
from napari_breastseg.preprocess.intensity import Inputs, with_clock
from napari_breastseg.preprocess.mammogram import mammogram_region
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.preprocess.resample import resample, working_shape

Region = Literal["breast", "full"]
REGIONS: Mapping[Modality, Callable[[Overview], BreastRegion]] = {
    "dce-mri": breast_region,
    "mri": breast_region,
    "mammography": mammogram_region,
}
"""How the breasts are found in images that show more."""


@dataclass(frozen=True)
class Grid:
    """One box of a case on the working grid.

    Attributes
    ----------
    box : Box
        Where it lies in the case.
    channels : ndarray, shape (channel, z, y, x), float32
        What the network sees, but for the clock.
    windows : sequence of Box
        In voxels of the working grid.
    clock : tuple of float
        See :func:`~napari_breastseg.preprocess.intensity.with_clock`.
    """

    box: Box
    channels: Map
    windows: Sequence[Box]
    clock: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of the working grid."""
        _, z, y, x = self.channels.shape
        return z, y, x

    def window(self, window: Box) -> Map:
        """Return what the network sees within `window`."""
        return with_clock(self.channels[(slice(None), *slices(window))], self.clock)

    def halved(self, patch: Sequence[int]) -> Grid:
        """Return the same box at twice the spacing, covered by windows of `patch` voxels."""
        half = resample(self.channels, [max(1, n // 2) for n in self.shape])
        return Grid(self.box, half, plan_windows(half.shape[1:], patch), self.clock)

    def on_case(self, window: Box) -> Box:
        """Return the voxels of the case that a window covers."""
        z, y, x = (
            (start + int(low * (end - start) / m), start + min(end - start, math.ceil(high * (end - start) / m)))
            for (low, high), (start, end), m in zip(window, self.box, self.shape, strict=True)
        )
        return z, y, x

    def to_case(self, values: Map, part: Box | None = None) -> Map:
        """Resample values (z, y, x) on the working grid to the voxels of the box, or of a `part` of it, a box of the case."""
        place = None
        if part is not None:
            place = tuple(slice(low - start, high - start) for (low, high), (start, _) in zip(part, self.box, strict=True))
        found: Map = resample(values[None], [high - low for low, high in self.box], place)[0]
        return found


@dataclass(frozen=True)
class Plan:
    """What of a case is looked at, and how: known before anything but its overview is read.

    Attributes
    ----------
    preset : Preset
    inputs : Inputs
    region : BreastRegion
    window : sequence of int
        Voxels (z, y, x) of a window.
    overlap : float
        Smallest share of a window that its neighbour repeats.
    """

    preset: Preset
    inputs: Inputs
    region: BreastRegion
    window: Sequence[int]
    overlap: float

    @property
    def case(self) -> Case:
        """The case."""
        return self.inputs.seen.case

    def shape(self, box: Box) -> tuple[int, int, int]:
        """Return the voxels (z, y, x) of a box on the working grid."""
        return working_shape([high - low for low, high in box], self.case.geometry.spacing, self.preset.grid_spacing(self.case))

    def windows(self, box: Box) -> list[Box]:
        """Return the windows that cover a box, in voxels of the working grid."""
        return plan_windows(self.shape(box), self.window, self.overlap, least=self.preset.patch)

    def read(self, box: Box) -> Grid:
        """Read a box.

        Raises
        ------
        InputError
            If there are voxels that are not finite.
        """
        return Grid(box, self.inputs.read(box, self.shape(box)), self.windows(box), self.inputs.clock)

    def grids(self) -> Iterator[Grid]:
        """Read one box after the other; see :meth:`read`."""
        return map(self.read, self.region.boxes)


def make_plan(
    case: Case, preset: Preset, region: Region = "breast", window: Sequence[int] | None = None, overlap: float | None = None
) -> Plan:
    """Decide what of a case is looked at: one box per breast, or the whole field of view; reads an overview of the case.

    Windows are those of the preset at inference if no other size is given.

    Raises
    ------
    InputError
        If the case is of another modality than the preset is made for, lacks a phase that it needs, or is constant.
    """
    require_kind(case, preset)
    seen = preset.overview(case)
    inputs = preset.inputs(seen)
    if region == "breast" and preset.modality in REGIONS:  # ultrasound shows the breast alone
        found = REGIONS[preset.modality](seen)
    else:
        found = BreastRegion([whole(case.shape)], np.ones(case.shape[1:], bool))
    return Plan(preset, inputs, found, window or preset.window or preset.patch, preset.overlap if overlap is None else overlap)


def plan_grids(case: Case, preset: Preset, region: Region = "breast") -> tuple[list[Grid], BreastRegion]:
    """Return a grid for each box of the region (one per breast, or the whole field of view), and the region; see :func:`make_plan`.

    Its windows are of the size of those in training: small ones, of which a few show all that is asked about.
    """
    plan = make_plan(case, preset, region, preset.patch)
    return list(plan.grids()), plan.region


def require_kind(case: Case, preset: Preset) -> None:
    """Refuse a case of another modality than the preset is made for.

    Raises
    ------
    InputError
        If it is.
    """
    if not suits(case.modality, preset.modality):
        kind = "an image" if case.modality == "image" else case.modality
        raise InputError(f"{preset.name} is made for {preset.modality}, but {case.name} is {kind}. Choose another model.")


def suits(modality: Modality, wanted: Modality) -> bool:
    """Tell whether a case of one modality may be given to a preset of another.

    A volume of DCE-MRI is read as plain MRI: whether its phases suffice says the preset. An image can be of either flat kind.
    """
    kinds: Sequence[set[Modality]] = ({"dce-mri", "mri"}, {"ultrasound", "image"}, {"mammography", "image"})
    return any({modality, wanted} <= kind for kind in kinds)
