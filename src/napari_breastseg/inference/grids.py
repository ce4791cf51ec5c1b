"""A case on a model's working grid: one box per breast, and the windows that cover it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box, Case, Modality, slices
from napari_breastseg.errors import InputError
from napari_breastseg.inference.windows import plan_windows
from napari_breastseg.methods.preset import Preset
from napari_breastseg.preprocess.breast_region import BreastRegion, breast_region
from napari_breastseg.preprocess.intensity import first_post_contrast
from napari_breastseg.preprocess.resample import resample, working_shape

Region = Literal["breast", "full"]
Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """One box of a case on the working grid.

    Attributes
    ----------
    box : Box
        Where it lies in the case.
    channels : ndarray, shape (channel, z, y, x), float32
        What the network sees.
    windows : sequence of Box
        In voxels of the working grid.
    """

    box: Box
    channels: Map
    windows: Sequence[Box]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of the working grid."""
        _, z, y, x = self.channels.shape
        return z, y, x

    def window(self, window: Box) -> Map:
        """Return the channels within `window`."""
        return self.channels[(slice(None), *slices(window))]

    def halved(self, patch: Sequence[int]) -> Grid:
        """Return the same box at twice the spacing, covered by windows of `patch` voxels."""
        half = resample(self.channels, [max(1, n // 2) for n in self.shape])
        return Grid(self.box, half, plan_windows(half.shape[1:], patch))

    def on_case(self, window: Box) -> Box:
        """Return the voxels of the case that a window covers."""
        z, y, x = (
            (start + int(low * (end - start) / m), start + min(end - start, math.ceil(high * (end - start) / m)))
            for (low, high), (start, end), m in zip(window, self.box, self.shape, strict=True)
        )
        return z, y, x

    def to_case(self, values: Map) -> Map:
        """Resample values (z, y, x) on the working grid to the voxels of the box."""
        part: Map = resample(values[None], [high - low for low, high in self.box])[0]
        return part


def plan_grids(case: Case, preset: Preset, region: Region = "breast") -> tuple[list[Grid], BreastRegion]:
    """Return a grid for each box of the region (one per breast, or the whole field of view), and the region.

    Raises
    ------
    InputError
        If the case is of another modality than the preset is made for, or lacks a phase that it needs.
    """
    if _kind(case.modality) != _kind(preset.modality):
        raise InputError(f"{preset.name} is made for {preset.modality}, but {case.name} is {case.modality}. Choose another model.")
    if region == "breast" and _kind(preset.modality) == "mri":  # other images show the breast alone
        found = breast_region(case.phase(first_post_contrast(case)), case.geometry.spacing)
    else:
        found = BreastRegion([((0, case.shape[0]), (0, case.shape[1]), (0, case.shape[2]))], np.ones(case.shape[1:], bool))
    inputs = preset.inputs(case)
    grids = []
    for box in found.boxes:
        part = inputs[(slice(None), *slices(box))]
        channels = resample(part, working_shape(part.shape[1:], case.geometry.spacing, preset.spacing))
        grids.append(Grid(box, channels, plan_windows(channels.shape[1:], preset.patch)))
    return grids, found


def _kind(modality: Modality) -> str:
    """One volume of a DCE-MRI examination is read as plain MRI; whether its phases suffice is for the preset to say."""
    return "mri" if modality == "dce-mri" else modality
