"""How far the phases of a case lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.blocks import Breast, Reading, find_breasts, phase_reading, refuse_unusable
from napari_breastseg.preprocess.overview import first_post_contrast
from napari_breastseg.progress import Job, Progress

ADVISED_MEDIAN, ADVISED_MOST = 0.5, 1.5
"""Voxels by which half of the blocks, or a tenth of them, must be displaced for alignment to be advised."""


@dataclass(frozen=True)
class PhaseMotion:
    """How far one phase lies from the reference: median and 90th percentile over the blocks, in mm and in voxels of the case.

    Attributes
    ----------
    phase : int
    median_mm, most_mm, median_voxels, most_voxels : float
    blocks, unmatched : int
        Blocks that were measured, and those with edges whose counterpart was not found.
    """

    phase: int
    median_mm: float
    most_mm: float
    median_voxels: float
    most_voxels: float
    blocks: int
    unmatched: int

    @property
    def advised(self) -> bool:
        """Whether the phase should be aligned: half of the blocks lie half a voxel away, or a tenth of them one and a half."""
        return self.median_voxels >= ADVISED_MEDIAN or self.most_voxels >= ADVISED_MOST


@dataclass(frozen=True)
class Motion:
    """How far the phases of a case lie from its reference phase.

    Attributes
    ----------
    reference : int
    phases : tuple of PhaseMotion
        All but the reference.
    """

    reference: int
    phases: tuple[PhaseMotion, ...]

    @property
    def advised(self) -> bool:
        """Whether any phase should be aligned."""
        return any(phase.advised for phase in self.phases)

    @property
    def words(self) -> str:
        """One sentence for people, about the phase that lies furthest away."""
        worst = max(self.phases, key=lambda phase: (phase.advised, phase.median_voxels))
        far = f"{worst.median_mm:.1f} mm (up to {worst.most_mm:.1f} mm)"
        if not self.advised:
            return f"All phases lie within about {far} of {phase_name(self.reference)}; they need no alignment."
        name = phase_name(worst.phase)
        return (
            f"{name[0].upper()}{name[1:]} lies about {far} away from {phase_name(self.reference)}; "
            "align the phases before you trust enhancement."
        )


def phase_name(phase: int) -> str:
    """Say which phase is meant."""
    return ("the phase before contrast", "the first phase after contrast")[phase] if phase < 2 else f"phase {phase:04d}"


def motion_check(case: Case, reference: int | None = None) -> Job[Motion]:
    """Measure how far every phase lies from the reference phase.

    Parameters
    ----------
    case : Case
        Read slab by slab, one phase at a time.
    reference : int, optional
        The first phase after contrast if not given.

    Raises
    ------
    InputError
        If the case is a single image or has one phase, there is no such reference, a phase is constant or holds voxels that are no
        numbers, or two phases have too little in common.
    """
    reference = checked_reference(case, reference)
    yield Progress(0, case.phases, "Looking for the breasts")
    breasts = find_breasts(case, reference)
    phases = []
    for phase in range(case.phases):
        yield Progress(phase, case.phases, f"Measuring motion: {phase_name(phase)}")
        if phase != reference:
            phases.append(measure(case, breasts, phase, phase_reading(case, phase)))
    return Motion(reference, tuple(phases))


def checked_reference(case: Case, reference: int | None) -> int:
    """Return the reference phase of a case, or refuse a case whose phases cannot be compared."""
    if case.flat or case.modality in ("ultrasound", "mammography"):
        raise InputError(f"{case.name} is a single 2-D image, so nothing can have moved. Give an examination with several volumes.")
    if case.phases < 2:
        raise InputError(f"{case.name} has one phase, so there is nothing to compare it with. Load the complete series.")
    if reference is None:
        return first_post_contrast(case)
    if not 0 <= reference < case.phases:
        raise InputError(f"{case.name} has no phase {reference}. Choose a reference from 0 to {case.phases - 1}.")
    return reference


def measure(case: Case, breasts: Sequence[Breast], phase: int, reading: Reading) -> PhaseMotion:
    """Measure how far a phase lies from the reference.

    Raises
    ------
    InputError
        If it is constant, holds voxels that are no numbers, or has too little in common with the reference.
    """
    parts = []
    for breast in breasts:
        moving = breast.read(reading)
        refuse_unusable(case, phase, moving)
        parts.append(breast.displacements(moving))
    vectors = np.concatenate([np.empty((0, 3)), *(part.vectors for part in parts)])
    if not len(vectors):
        raise InputError(f"Phase {phase} of {case.name} shows nothing that the reference shows. Check that they are of one examination.")
    mm = np.linalg.norm(vectors, axis=1)
    voxels = np.linalg.norm(vectors / np.array(case.geometry.spacing), axis=1)
    middle, most = ([float(np.percentile(far, share)) for far in (mm, voxels)] for share in (50, 90))
    return PhaseMotion(phase, middle[0], most[0], middle[1], most[1], len(vectors), sum(part.unmatched for part in parts))
