"""Synthetic breast DCE-MRI with exact truth: for tests, samples, demonstrations and the starter weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.phantom.acquisition import OTHER_SCANNER, Scanner, acquire, draw_protocol
from napari_breastseg.phantom.anatomy import AIR, BENIGN, LESION, TISSUES, VESSEL, make_anatomy
from napari_breastseg.phantom.benign import draw_benign_mass
from napari_breastseg.phantom.contrast import CURVES, make_kinetics
from napari_breastseg.phantom.lesions import draw_lesion
from napari_breastseg.phantom.vessels import draw_vessels

__all__ = ["CURVES", "OTHER_SCANNER", "TISSUES", "Phantom", "Scanner", "make_phantom"]


@dataclass(frozen=True)
class Phantom:
    """A synthetic examination and its exact truth, all arrays of shape (z, y, x).

    Attributes
    ----------
    case : Case
    tumour : ndarray, uint8
        1 where at least half of the voxel is tumour.
    tissue : ndarray, uint8
        Index into ``TISSUES``.
    curve : ndarray, uint8
        Index into ``CURVES``, from the noise-free signal.
    seed : int
    """

    case: Case
    tumour: npt.NDArray[np.uint8]
    tissue: npt.NDArray[np.uint8]
    curve: npt.NDArray[np.uint8]
    seed: int


def make_phantom(
    seed: int, shape: tuple[int, int, int] = (128, 192, 192), phases: int = 5, lesions: int | None = None, diameter: float | None = None,
    benign: int = 0, scanner: Scanner | None = None, benign_rate: float = 1.0,
) -> Phantom:  # fmt: skip
    """Make one synthetic DCE-MRI examination; the same seed and options give the same voxels.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Voxels (z, y, x); the spacing follows from the field of view of the drawn protocol.
    phases : int
        One before the injection and the rest after it; at least 2.
    lesions : int, optional
        Number of tumours; drawn (0 to 3, mostly 1) if not given.
    diameter : float, optional
        Nominal diameter in mm; drawn from 4 to 50 mm if not given.
    benign : int
        Enhancing masses that are no tumours; everything else stays as it is without them.
    scanner : Scanner, optional
        Replaces the drawn protocol but for its times; the spacing is then the scanner's, so that `shape` decides the field of view.
    benign_rate : float
        Uptake rate of the enhancing masses, relative to the usual 0.6 to 2 per minute; tumours have 1.2 to 5.

    Raises
    ------
    InputError
        If fewer than two phases or fewer than 16 voxels along an axis are asked for.
    """
    if phases < 2 or min(shape) < 16:
        raise InputError("A phantom needs at least 2 phases and 16 voxels along each axis. Ask for more.")
    rng = np.random.default_rng(seed)
    protocol = draw_protocol(rng, shape, phases)
    if scanner is not None:
        protocol = scanner.scans(protocol)
    anatomy = make_anatomy(rng, shape, protocol.spacing, protocol.bilateral)
    vessels = draw_vessels(rng, anatomy, protocol.spacing)
    wanted = int(rng.choice([0, 1, 2, 3], p=[0.08, 0.62, 0.2, 0.1])) if lesions is None else lesions
    drawn = [draw_lesion(rng, anatomy, protocol.spacing, diameter) for _ in range(wanted)]
    tumours = [lesion for lesion in drawn if lesion is not None]
    # A generator of their own: the anatomy, the tumours and the noise of a seed are the same with and without benign masses.
    own = np.random.default_rng((seed, BENIGN))
    masses = [mass for _ in range(benign) if (mass := draw_benign_mass(own, anatomy, protocol.spacing, benign_rate)) is not None]
    kinetics = make_kinetics(rng, anatomy, vessels, tumours, protocol.spacing, protocol.fat_suppressed, masses)
    kinetics.amplitude *= np.float32(protocol.enhancement)

    tissue = anatomy.tissue
    tissue[vessels > 0.5] = VESSEL
    for mass in masses:
        tissue[mass.cover > 0.5] = BENIGN
    tumour = np.zeros(shape, np.uint8)
    for lesion in tumours:
        tumour[lesion.cover > 0.5] = 1
    tissue[tumour == 1] = LESION
    spacing_xyz = np.array(protocol.spacing[::-1])
    affine = np.diag([-spacing_xyz[0], -spacing_xyz[1], spacing_xyz[2], 1.0])
    case = Case(
        name=f"phantom-{seed:04d}",
        images=acquire(rng, kinetics, anatomy, protocol),
        geometry=Geometry(protocol.spacing, affine, (shape[2], shape[1], shape[0])),
        times=protocol.times,
        metadata={
            "phantom_seed": seed,
            "fat_suppressed": protocol.fat_suppressed,
            "lesions": [(round(t.diameter, 1), t.pattern) for t in tumours],
            "benign_masses": len(masses),
        },
    )
    # Soft margins reach a little into the air, where no curve is anybody's.
    curve = np.where(tissue == AIR, 0, kinetics.curve_types(protocol.times)).astype(np.uint8)
    return Phantom(case, tumour, tissue, curve, seed)
