"""Curve types of single voxels against the truth of phantoms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg import phantom
from napari_breastseg.kinetics import timing_of
from napari_breastseg.kinetics.curves import CURVES, curve_type
from napari_breastseg.phantom import TISSUES, Phantom, make_phantom

SEEDS = range(6)
SHAPE = (48, 96, 96)


def confusion(found: Phantom, tissues: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Count voxels by their true type (rows) and the one that the images give (columns)."""
    where = np.isin(found.tissue, [TISSUES.index(name) for name in tissues])
    types = curve_type(found.case.images, timing_of(found.case))
    table = np.zeros((len(CURVES), len(CURVES)), np.int64)
    np.add.at(table, (found.curve[where], types[where]), 1)
    return table


def noise_free(rng: object, kinetics: object, anatomy: object, protocol: object) -> npt.NDArray[np.float32]:
    """Scan without motion, coil, blur or noise."""
    return np.stack([kinetics.signal(seconds) for seconds in protocol.times])  # type: ignore[attr-defined]


def test_every_voxel_has_its_true_type_without_noise_and_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom, "acquire", noise_free)
    table = sum(confusion(make_phantom(seed, SHAPE), ("gland", "lesion")) for seed in SEEDS)
    assert (table.sum(axis=1) > 100).all()  # every type is there
    assert np.trace(table) == table.sum()


def test_most_voxels_have_their_true_type_at_clinical_noise_and_motion() -> None:
    """Measured with 30 phantoms of 64 x 128 x 128 voxels: see the bounds.

    Of lesions 86 % (persistent 93, plateau 76, wash-out 88 %), of lesions and gland together 67 % (no uptake 68, persistent 72, plateau 52,
    wash-out 79 %): the motion of up to 2.5 mm between the first phase and the others costs dark gland most. Without motion 88 % and 75 %.
    """
    scans = [make_phantom(seed, SHAPE) for seed in SEEDS]
    lesions = sum(confusion(scan, ("lesion",)) for scan in scans)
    both = sum(confusion(scan, ("gland", "lesion")) for scan in scans)
    assert np.trace(lesions) > 0.8 * lesions.sum()
    assert np.trace(both) > 0.6 * both.sum()
    assert (np.diag(both) > 0.4 * both.sum(axis=1)).all()
