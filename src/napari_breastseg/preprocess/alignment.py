"""Phases laid over the reference phase, so that the signal of a voxel over time is that of one piece of tissue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.blocks import Breast, Points, find_breasts, phase_reading
from napari_breastseg.preprocess.breast_region import breast_mask
from napari_breastseg.preprocess.displacement import Displacement, find_displacement
from napari_breastseg.preprocess.itk import warp
from napari_breastseg.preprocess.motion import PhaseMotion, checked_reference, measure, motion_check, phase_name
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.preprocess.resample import Volume
from napari_breastseg.progress import Job, Progress, retold

T = TypeVar("T")
Kind: TypeAlias = Literal["rigid", "deformable"]
KINDS: tuple[Kind, ...] = ("rigid", "deformable")

UNMOVED = 0.25
"""Voxels of median displacement below which a phase is left as it is."""
NODE = 4.0
"""mm between the nodes of the grid on which the breasts' displacements are joined."""
TAPER = 30.0
"""mm behind and beside the breasts over which the displacement fades to none."""


@dataclass(frozen=True)
class AlignedPhase:
    """What became of one phase.

    Attributes
    ----------
    phase : int
    how : str
        "rigid", "deformable", or "unchanged" if it lay near enough already or could not be brought nearer.
    why : str
        One sentence for people.
    before, after : PhaseMotion
        How far it lay and lies from the reference.
    rigid : tuple of mapping
        For each breast the angle of the rotation (degrees) and the translation (z, y, x; mm); nothing for a phase left as it was.
    jacobian : tuple of float
        The smallest and the largest Jacobian determinant of the displacement in the breasts: how many times its volume in the reference
        tissue has in the phase. 1 and 1 for a phase left as it was.
    seconds : float
    """

    phase: int
    how: Literal["unchanged", "rigid", "deformable"]
    why: str
    before: PhaseMotion
    after: PhaseMotion
    rigid: tuple[dict[str, Any], ...] = ()
    jacobian: tuple[float, float] = (1.0, 1.0)
    seconds: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """Return all of it but the seconds, JSON-ready."""
        return {key: value for key, value in asdict(self).items() if key != "seconds"}


@dataclass(frozen=True)
class Aligned:
    """A case whose phases lie over each other.

    Attributes
    ----------
    case : Case
        On the grid of the one that was given, with its name; ``metadata["aligned"]`` says what was done.
    reference : int
        The phase that the others were laid over; not a voxel of it has changed.
    phases : tuple of AlignedPhase
        All but the reference.
    """

    case: Case
    reference: int
    phases: tuple[AlignedPhase, ...]

    @property
    def words(self) -> str:
        """A line for people on each phase but the reference."""
        return "\n".join(phase.why for phase in self.phases)


def align(case: Case, kind: Kind = "deformable", reference: int | None = None) -> Job[Aligned]:
    """Lay every phase over the reference phase.

    Each breast has a displacement of its own, see :func:`~napari_breastseg.preprocess.displacement.find_displacement`; they are joined
    smoothly at the midline, and fade to none within 30 mm of the breasts. Voxels are interpolated once, by cubic B-splines. The same
    case gives the same voxels, on however many processors.

    Parameters
    ----------
    case : Case
        Read one phase at a time.
    kind : str
        "rigid", or "deformable" for a free-form displacement on top.
    reference : int, optional
        The first phase after contrast if not given.

    Returns
    -------
    Aligned
        A phase stays as it is, voxel for voxel, if it lies within :data:`UNMOVED` voxels already or aligning does not bring it nearer; a
        free-form displacement that folds the tissue is not used, but the rigid one.

    Raises
    ------
    InputError
        If `kind` is unknown, and whatever :func:`~napari_breastseg.preprocess.motion.motion_check` refuses.
    """
    if kind not in KINDS:
        raise InputError(f"There is no alignment {kind!r}. Choose from {', '.join(KINDS)}.")
    reference = checked_reference(case, reference)
    total = 2 * case.phases
    motion = yield from _at(motion_check(case, reference), None, total)
    moved = [phase for phase in motion.phases if phase.median_voxels >= UNMOVED]
    done = {phase.phase: _left(phase, f"lies within {phase.median_voxels:.2f} voxel of the reference already") for phase in motion.phases}
    images = _copy(case) if moved else case.images
    breasts = find_breasts(case, reference) if moved else []
    for number, before in enumerate(moved):
        job = _align_phase(case, breasts, before, kind)
        done[before.phase], images[before.phase] = yield from _at(job, case.phases + number * case.phases // len(moved), total)
    phases = tuple(done[phase] for phase in sorted(done))
    facts = {"kind": kind, "reference": reference, "phases": [phase.facts for phase in phases]}
    metadata = MappingProxyType({**case.metadata, "aligned": facts})
    return Aligned(replace(case, images=images, metadata=metadata), reference, phases)


def _at(job: Job[T], step: int | None, total: int) -> Job[T]:
    """Return a job whose progress counts in `total`, and stands at `step` if there is one."""
    return retold(job, lambda progress: replace(progress, step=progress.step if step is None else step, total=total))


def _copy(case: Case) -> Volume:
    """Return all phases in memory, to write into, shape (phase, z, y, x)."""
    images = np.empty(case.images.shape, np.float32)
    for phase in range(case.phases):
        images[phase] = case.phase(phase)
    return images


def _left(before: PhaseMotion, why: str) -> AlignedPhase:
    return AlignedPhase(before.phase, "unchanged", f"{_name(before)} {why}; it was left as it is.", before, before)


def _name(phase: PhaseMotion) -> str:
    name = phase_name(phase.phase)
    return name[0].upper() + name[1:]


def _align_phase(case: Case, breasts: Sequence[Breast], before: PhaseMotion, kind: Kind) -> Job[tuple[AlignedPhase, Volume]]:
    """Lay one phase over the reference; return what became of it, and its voxels, shape (z, y, x)."""
    started, phase = time.perf_counter(), before.phase
    found = []
    for number, breast in enumerate(breasts, 1):
        where = f"{phase_name(phase)}, box {number} of {len(breasts)}"
        job = find_displacement(breast, breast.read(phase_reading(case, phase)), kind == "deformable")
        found.append((yield from _saying(job, f"Aligning {where}: ")))
    yield Progress(0, 1, f"Resampling {phase_name(phase)}")
    how: Kind = kind
    field = joined(case, breasts, found)
    change = volume_change(case, field)
    if change[0] <= 0 and kind == "deformable":
        how, found = "rigid", [Displacement(one.rigid) for one in found]
        field = joined(case, breasts, found)
        change = volume_change(case, field)
    volume = case.phase(phase)
    if change[0] <= 0:
        return _left(before, "could not be aligned without folding tissue between the breasts"), volume
    warped = warp(volume, case.geometry.spacing, field)
    yield Progress(0, 1, f"Measuring what is left of the motion: {phase_name(phase)}")
    after = measure(case, breasts, phase, warped.__getitem__)
    if after.median_voxels >= before.median_voxels:
        return _left(before, f"came no nearer by aligning ({before.median_mm:.1f} mm before, {after.median_mm:.1f} mm after)"), volume
    why = f"{_name(before)} was aligned ({how}): it lay about {before.median_mm:.1f} mm away, now {after.median_mm:.1f} mm."
    why += " A free-form displacement would have folded the tissue." if how != kind else ""
    rigid = tuple({"degrees": one.rigid.degrees, "translation_mm": one.rigid.translation.tolist()} for one in found)
    return AlignedPhase(phase, how, why, before, after, rigid, change, time.perf_counter() - started), warped


def _saying(job: Job[T], what: str) -> Job[T]:
    return retold(job, lambda progress: replace(progress, message=what + progress.message))


def joined(case: Case, breasts: Sequence[Breast], found: Sequence[Displacement]) -> Points:
    """Join the displacements of the breasts on a grid of nodes from the first to the last voxel of the case.

    Where two boxes overlap at the midline one displacement goes over into the other. Outside of the boxes it fades, over a distance that
    is long enough not to fold what lies there.

    Returns
    -------
    ndarray, shape (z, y, x, 3)
        mm along (z, y, x).
    """
    lengths = [(n - 1) * s for n, s in zip(case.shape, case.geometry.spacing, strict=True)]
    axes = [np.linspace(0, length, int(np.ceil(length / NODE)) + 1) for length in lengths]
    extents = [_extent(breast, case.geometry.spacing) for breast in breasts]
    field = sum(share[:, None] * one.on(axes) for share, one in zip(_shares(extents, axes[2]), found, strict=True))
    apart = np.min([_distance(extent, axes) for extent in extents], axis=0)
    inside = np.linalg.norm(field, axis=-1)[apart == 0]
    fade = max(TAPER, 3 * float(inside.max(initial=0.0)))
    nodes: Points = field * _smooth(1 - apart / fade)[..., None]
    return nodes


def _extent(breast: Breast, spacing: Sequence[float]) -> Points:
    """Return the first and the last voxel of a box along z, y, x in mm, shape (3, 2)."""
    extent: Points = (np.array(breast.box) - (0, 1)) * np.array(spacing)[:, None]
    return extent


def _shares(extents: Sequence[Points], x: Points) -> list[Points]:
    """Return the weight of each breast along x: one, or two that change places over the overlap of their boxes."""
    if len(extents) == 1:
        return [np.ones_like(x)]
    first, second = extents
    low, high = second[2, 0], first[2, 1]
    share = _smooth((x - low) / max(high - low, NODE))
    return [1 - share, share]


def _distance(extent: Points, axes: Sequence[Points]) -> Points:
    """Return how far each node lies outside of a box, mm."""
    z, y, x = (np.maximum(np.maximum(low - axis, axis - high), 0) for (low, high), axis in zip(extent, axes, strict=True))
    apart: Points = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return apart


def _smooth(share: Points) -> Points:
    """Return 0 below 0, 1 above 1, and in between a way without a corner."""
    t = np.clip(share, 0, 1)
    smooth: Points = t * t * (3 - 2 * t)
    return smooth


def jacobian(case: Case, field: Points) -> Points:
    """Return the determinant of the Jacobian of ``place + displacement`` at each node, shape (z, y, x)."""
    steps = [(n - 1) * s / (m - 1) for n, s, m in zip(case.shape, case.geometry.spacing, field.shape, strict=False)]
    slopes = np.stack([np.gradient(field, step, axis=axis) for axis, step in enumerate(steps)], -1)
    determinant: Points = np.linalg.det(np.eye(3) + slopes)
    return determinant


def volume_change(case: Case, field: Points) -> tuple[float, float]:
    """Return the smallest and the largest Jacobian determinant in the breasts; one that is not positive is a fold."""
    inside = jacobian(case, field)[breast_mask(Overview.of(case), field.shape[:3])]
    return float(inside.min(initial=1.0)), float(inside.max(initial=1.0))
