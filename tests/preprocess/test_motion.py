"""Motion is measured as it was made, and uptake is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case
from napari_breastseg.preprocess import resample
from napari_breastseg.preprocess.blocks import find_breasts, phase_reading
from napari_breastseg.preprocess.motion import Motion, PhaseMotion, motion_check
from napari_breastseg.progress import run

SHAPE = (64, 112, 112)
Make = Callable[..., Any]


def with_first(case: Case, volume: np.ndarray) -> Case:
    return replace(case, images=np.stack([volume, *(case.phase(index) for index in range(1, case.phases))]).astype(np.float32))


@pytest.mark.parametrize("seed", [0, 4, 11])
def test_a_shift_by_whole_voxels_is_found_in_every_block(moving: Make, seed: int) -> None:
    case = moving(seed, SHAPE, still=True).case
    shift = np.array([1, -2, 3])
    shifted = with_first(case, np.roll(case.phase(0), shift, axis=(0, 1, 2)))
    (breast, *_) = find_breasts(shifted, 1)
    found = breast.displacements(breast.read(phase_reading(shifted, 0)))
    errors = np.linalg.norm(found.vectors / case.geometry.spacing - shift, axis=1)
    assert len(errors) >= 20
    assert np.median(errors) < 0.2 and np.percentile(errors, 90) < 0.5
    measured = run(motion_check(shifted)).phases[0]
    assert measured.median_voxels == pytest.approx(np.linalg.norm(shift), abs=0.2)
    assert measured.median_mm == pytest.approx(np.linalg.norm(shift * case.geometry.spacing), abs=0.3)


@pytest.mark.parametrize("seed", [0, 4, 6, 10])
def test_a_smooth_displacement_is_found_to_a_fraction_of_a_voxel(moving: Make, seed: int) -> None:
    """moved(y) shows what lies at x if ``y + field(y) = x``, and then the displacement is ``y - x = -field(y)``."""
    made = moving(seed, SHAPE)
    spacing = np.array(made.case.geometry.spacing)
    errors = []
    for breast in find_breasts(made.case, 1):
        found = breast.displacements(breast.read(phase_reading(made.case, 0)))
        seen_at = np.round((found.places + found.vectors) / spacing).astype(int)
        seen_at = np.clip(seen_at, 0, np.array(made.case.shape) - 1)
        errors.append((found.vectors + made.field[(slice(None), *seen_at.T)].T) / spacing)
    misses = np.linalg.norm(np.concatenate(errors), axis=1)
    assert len(misses) >= 20
    assert np.median(misses) < 0.3


@pytest.mark.parametrize("seed", [0, 4, 6, 10, 11])
def test_uptake_alone_is_no_motion(moving: Make, seed: int) -> None:
    motion = run(motion_check(moving(seed, SHAPE, phases=3, still=True).case))
    assert [phase.phase for phase in motion.phases] == [0, 2]
    assert max(phase.median_voxels for phase in motion.phases) < 0.25
    assert not motion.advised


def test_neither_gain_nor_a_reversed_contrast_changes_what_is_measured(moving: Make) -> None:
    case = moving(4, SHAPE).case
    other = with_first(case, 900 - 3.5 * case.phase(0))
    plain, reversed_ = (run(motion_check(c)).phases[0] for c in (case, other))
    assert reversed_.median_voxels == pytest.approx(plain.median_voxels, abs=1e-3)
    assert reversed_.most_mm == pytest.approx(plain.most_mm, abs=1e-3)


def test_from_the_other_phase_it_is_as_far_back(moving: Make) -> None:
    case = moving(4, SHAPE).case
    there, back = (run(motion_check(case, reference)) for reference in (1, 0))
    assert [phase.phase for phase in back.phases] == [1]
    assert back.phases[0].median_voxels == pytest.approx(there.phases[0].median_voxels, abs=0.15)


def test_a_case_that_is_read_in_slabs_measures_the_same(moving: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    case = moving(4, SHAPE).case
    expected = run(motion_check(case))
    largest = []

    class Lazy:
        shape, dtype = case.images.shape, case.images.dtype

        def __getitem__(self, place: Any) -> Any:
            part = da.from_array(case.images)[place]
            largest.append(part.size)
            return part

    monkeypatch.setattr(resample, "SLAB", 8 * SHAPE[1] * SHAPE[2])
    motion = run(motion_check(replace(case, images=Lazy())))
    assert motion.phases[0].median_mm == pytest.approx(expected.phases[0].median_mm, abs=1e-4)
    assert max(largest) < 0.5 * np.prod(SHAPE)


def moved_by(phase: int, median: float, most: float) -> PhaseMotion:
    return PhaseMotion(phase, 1.5 * median, 1.5 * most, median, most, 90, 0)


@pytest.mark.parametrize(
    ("median", "most", "advised"), [(0.3, 1.4, False), (0.5, 0.6, True), (0.2, 1.5, True), (0.49, 1.49, False), (2.0, 3.0, True)]
)
def test_alignment_is_advised_from_half_a_voxel_on_or_where_a_tenth_lies_further(median: float, most: float, advised: bool) -> None:
    motion = Motion(1, (moved_by(0, median, most), moved_by(2, 0.1, 0.2)))
    assert motion.advised is advised
    assert ("align the phases before you trust enhancement" in motion.words) is advised


def test_the_words_are_of_the_phase_that_lies_furthest_away() -> None:
    motion = Motion(1, (moved_by(0, 0.87, 1.4), moved_by(2, 0.6, 0.9)))
    assert motion.words == (
        "The phase before contrast lies about 1.3 mm (up to 2.1 mm) away from the first phase after contrast; "
        "align the phases before you trust enhancement."
    )
    assert Motion(1, (moved_by(0, 0.1, 0.2), moved_by(3, 0.9, 1.2))).words.startswith("Phase 0003 lies about 1.4 mm")


def flat(case: Case) -> Case:
    return replace(case, images=case.images[:1, :1], times=(), modality="ultrasound")


def flat_series(case: Case) -> Case:
    return replace(case, images=case.images[:, :1])


def one_phase(case: Case) -> Case:
    return replace(case, images=case.images[:1], times=())


def constant_phase(case: Case) -> Case:
    return with_first(case, np.full(case.shape, 7.0))


def constant_reference(case: Case) -> Case:
    return replace(case, images=np.stack([case.phase(0), np.full(case.shape, 7.0, np.float32)]))


def not_a_number(case: Case) -> Case:
    volume = case.phase(0).copy()
    volume[32, 50, 56] = np.nan
    return with_first(case, volume)


def another_examination(case: Case) -> Case:
    return with_first(case, np.random.default_rng(0).normal(100, 20, case.shape))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (flat, "single 2-D image"),
        (flat_series, "single 2-D image"),
        (one_phase, "one phase, so there is nothing to compare"),
        (constant_phase, "Phase 0 .* is constant"),
        (constant_reference, "constant"),
        (not_a_number, "no numbers"),
        (another_examination, "shows nothing that the reference shows"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(moving: Make, spoil: Callable[[Case], Case], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(motion_check(spoil(moving(4, SHAPE).case)))


@pytest.mark.parametrize("reference", [-1, 2])
def test_an_unknown_reference_is_refused_in_words(moving: Make, reference: int) -> None:
    with pytest.raises(InputError, match=f"no phase {reference}"):
        run(motion_check(moving(4, (32, 48, 48)).case, reference))


def test_a_thin_slab_is_no_traceback() -> None:
    """Three slices of noise: there is nothing to find, or too little."""
    images = np.random.default_rng(0).normal(100, 20, (2, 3, 40, 40)).astype(np.float32)
    case = Case("thin", images, Geometry((3.0, 2.0, 2.0), np.diag([-2.0, -2.0, 3.0, 1.0]), (40, 40, 3)))
    with pytest.raises(InputError):
        run(motion_check(case))


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["native_crop", "fullfov_half"])
def test_the_real_case_moved_before_contrast_and_not_after(data: Path, folder: str) -> None:
    """Measured, median in voxels: before contrast 2.5 and 1.5, after it 0.20 to 0.39 and 0.10 to 0.18, growing with time."""
    motion = run(motion_check(read_case(data / "duke_153" / folder)))
    before, *after = (phase.median_voxels for phase in motion.phases)
    assert 1.0 < before < 3.0
    assert max(after) < 0.45 and after == sorted(after)
    assert motion.phases[0].advised and not any(phase.advised for phase in motion.phases[1:])
