"""Case, Geometry, Prediction: the values that every room of the package shares.

Arrays are stored ``(z, y, x)`` with z to superior, y to posterior and x to the patient's left, lengths in mm and times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import InputError

Modality: TypeAlias = Literal["dce-mri", "mri", "ultrasound", "mammography", "image"]
"""What an examination is; "image" is one of the flat kinds, and its file does not say which."""
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open index ranges ``((z0, z1), (y0, y1), (x0, x1))``."""

BACKGROUND, TUMOUR, UNDECIDED = 0, 1, 255
"""Values of an annotation: healthy tissue, tumour, and not decided by the person."""
REFINED_WITH = "refined_with"
"""The detail of a prediction that was refined with strokes: it is not what its model says alone."""


def slices(box: Box) -> tuple[slice, slice, slice]:
    """Return `box` as the slices that cut it out of a ``(z, y, x)`` array."""
    (z0, z1), (y0, y1), (x0, x1) = box
    return slice(z0, z1), slice(y0, y1), slice(x0, x1)


def whole(shape: tuple[int, int, int]) -> Box:
    """Return the box of a whole volume."""
    z, y, x = shape
    return (0, z), (0, y), (0, x)


def slab(shape: tuple[int, ...], axis: int, start: int, stop: int) -> Box:
    """Return the box of the slices from `start` to before `stop` across an axis of a ``(z, y, x)`` array."""
    z, y, x = ((start, stop) if other == axis else (0, size) for other, size in enumerate(shape))
    return z, y, x


def placed(inner: Box, outer: Box) -> Box:
    """Return a box that is counted from the corner of `outer` as a box of what `outer` lies in."""
    z, y, x = ((low + start, low + stop) for (start, stop), (low, _) in zip(inner, outer, strict=True))
    return z, y, x


def box_around(mask: npt.NDArray[np.bool_]) -> Box | None:
    """Return the smallest box around the true voxels of a ``(z, y, x)`` array, None if there are none."""
    depth = np.flatnonzero(mask.any(axis=(1, 2)))
    if not depth.size:
        return None
    plane = np.asarray(mask[depth[0] : depth[-1] + 1].any(axis=0))
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    (z0, z1), (y0, y1), (x0, x1) = ((int(found[0]), int(found[-1]) + 1) for found in (depth, rows, columns))
    return (z0, z1), (y0, y1), (x0, x1)


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a case lie in the patient.

    Parameters
    ----------
    spacing : tuple of float
        Voxel size in mm along the stored axes (z, y, x); all positive and finite.
    affine : ndarray, shape (4, 4)
        The file's own affine: voxel indices (i, j, k) as stored in the file to RAS mm, kept so that results go back to that grid.
    original_shape : tuple of int
        The file's own array shape (i, j, k).
    unit : str
        "mm", or "pixel" where a file does not tell its scale and the spacing is 1 by convention.

    Raises
    ------
    InputError
        If the spacing is zero, negative or not finite, or the affine cannot be inverted.
    """

    spacing: tuple[float, float, float]
    affine: npt.NDArray[np.float64]
    original_shape: tuple[int, int, int]
    unit: Literal["mm", "pixel"] = "mm"

    def __post_init__(self) -> None:
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise InputError(f"The voxel spacing {self.spacing} mm is not positive. Correct the file's header or give the spacing.")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise InputError("The image's affine matrix cannot be used. Correct the file's header.")

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing)) / 1000.0


@dataclass(frozen=True)
class Case:
    """One examination. Immutable; use :meth:`with_times` and friends for a changed copy.

    Parameters
    ----------
    name : str
        A short name without identifying data.
    images : array, shape (phase, z, y, x)
        float32, in memory or lazy (Zarr, Dask): anything with ``shape``, ``dtype`` and numpy-style slicing.
    geometry : Geometry
    times : tuple of float, optional
        Seconds of each phase on any clock, strictly increasing; empty if unknown.
    modality : str
    metadata : mapping, optional
        Facts worth keeping that identify nobody (scanner, sequence, the source's file names).

    Raises
    ------
    InputError
        If the array is not four-dimensional, or the times do not fit the phases.
    """

    name: str
    images: Any
    geometry: Geometry
    times: tuple[float, ...] = ()
    modality: Modality = "dce-mri"
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if len(self.images.shape) != 4 or 0 in self.images.shape:
            raise InputError(f"{self.name}: expected an image of shape (phase, z, y, x), got {tuple(self.images.shape)}.")
        if self.times and len(self.times) != self.phases:
            raise InputError(f"{self.name}: {len(self.times)} phase times were given for {self.phases} phases. Give one time per phase.")
        if any(b <= a for a, b in zip(self.times, self.times[1:], strict=False)):
            raise InputError(f"{self.name}: the phase times {self.times} do not increase. Check the order of the phases.")

    @property
    def phases(self) -> int:
        """Number of phases (1 for a single image)."""
        return int(self.images.shape[0])

    @property
    def flat(self) -> bool:
        """Whether it is a single image, such as a mammogram."""
        return self.shape[0] == 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one phase (z, y, x)."""
        z, y, x = self.images.shape[1:]
        return int(z), int(y), int(x)

    def phase(self, index: int) -> npt.NDArray[np.float32]:
        """Return one phase in memory, shape (z, y, x), float32.

        Raises
        ------
        InputError
            If the case has no such phase.
        """
        if not -self.phases <= index < self.phases:
            raise InputError(f"{self.name} has {self.phases} phase(s); phase {index} is missing. Load the complete series.")
        return np.asarray(self.images[index % self.phases], dtype=np.float32)

    def with_times(self, times: tuple[float, ...]) -> Case:
        """Return a copy with the phase times (s) given by the person."""
        return replace(self, times=times)


@dataclass(frozen=True)
class Prediction:
    """What a model says of a case, on the case's own grid.

    Parameters
    ----------
    model : str
        sha256 of the model's weights.
    probability : array, shape (z, y, x), float32
        Probability of tumour after the refined pass, in memory or lazy as a case's images.
    coarse, refined : array, shape (z, y, x), uint8
        Masks of the half-resolution pass, in memory or lazy, and of the full-resolution pass, in memory.
    maps : mapping of str to ndarray, optional
        Named maps that the method gives besides.
    details : mapping, optional
        JSON-ready facts: device, seconds, windows, memory-ladder steps, code version.
    """

    model: str
    probability: Any
    coarse: Any
    refined: npt.NDArray[np.uint8]
    maps: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def overlay(prediction: npt.NDArray[np.uint8], annotation: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay the person's annotation over a predicted mask: the mask that is shown, exported and measured."""
    mask = prediction.copy()
    for shown, said in zip(mask, annotation, strict=True):  # one by one: of most slices a person says nothing
        decided = said != UNDECIDED
        if decided.any():
            np.copyto(shown, said, where=decided)
    return mask
