"""Kinetics of real examinations: what a reader of their curves would say."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import Case, Geometry, box_around
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.kinetics import functional_tumour_volume, kinetic_maps, lesion_kinetics, timing_from, timing_of
from napari_breastseg.kinetics.curves import NO_UPTAKE, PERSISTENT, PLATEAU, WASHOUT, baseline, curve_type, percent_enhancement
from napari_breastseg.progress import run

pytestmark = pytest.mark.realdata


def test_the_tumour_of_a_whole_case_washes_out(data: Path) -> None:
    """Its mask was drawn with Otsu's threshold in a radiologist's box: 3.99 mL, mean signal 134, 380, 352, 331, 316."""
    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    mask = read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case)
    found = lesion_kinetics(case, timing_of(case), mask)
    assert found.ml == pytest.approx(3.99, abs=0.01)
    np.testing.assert_allclose(found.curve.mean, [134, 380, 352, 331, 316], atol=0.5)
    assert (found.summary.type, found.summary.initial) == (WASHOUT, "fast")
    assert found.shares is not None and max(found.shares) == found.shares[WASHOUT]
    assert found.worst is not None and found.worst.voxels == 27
    assert found.worst.summary.type == WASHOUT and found.worst.summary.wash_out < found.summary.wash_out  # type: ignore[operator]


def test_the_functional_volume_of_a_whole_case_is_the_tumours(data: Path) -> None:
    """A box 3 voxels wider than the tumour: measured 4.00 mL beside 3.99 mL by Otsu's threshold, with a Dice of 0.81 between them."""
    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    mask = read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case) == 1
    box = box_around(mask)
    assert box is not None
    z, y, x = ((low - 3, high + 3) for low, high in box)
    found = functional_tumour_volume(case, timing_of(case), (z, y, x))
    assert found.name == "FTV-like"
    assert found.ml == pytest.approx(3.99, rel=0.15)
    assert dice(found.mask, mask.astype(np.uint8)) > 0.75
    assert sum(found.ser_ml[2:]) > sum(found.ser_ml[:2])  # SER above 1 in most of it


def qin_curves(data: Path) -> tuple[npt.NDArray[np.uint16], list[float]]:
    """Return 15 curves of 32 phases, shape (phase, curve), and the seconds of the phases."""
    content = (data / "qin_breast_tic" / "QINBreast001-phantom.nrrd").read_bytes()
    header, _, packed = content.partition(b"\n\n")
    (labels,) = (line for line in header.decode().splitlines() if line.startswith("MultiVolume.FrameLabels:="))
    seconds = [float(label) / 1000 for label in labels.partition(":=")[2].split(",")]
    return np.frombuffer(gzip.decompress(packed), "<u2").reshape(15, 32).T, seconds


@pytest.mark.parametrize("injection", [None, 95.0])
def test_curves_that_rise_to_the_end_are_persistent(data: Path, injection: float | None) -> None:
    """All 15 jump by 20 to 60 % between 93 and 112 s and climb for the eight minutes that follow, by 22 to 42 % from 90 s after the jump.

    A reader calls every one persistent, whether the time of the jump is given or the clock is taken to start with the injection.
    """
    signals, seconds = qin_curves(data)
    timing = timing_from(seconds, len(seconds), injection)
    assert timing.known == (injection is not None)
    assert (curve_type(signals, timing) == PERSISTENT).all()


def test_a_fast_series_shows_a_plateau_once_its_injection_is_known(data: Path) -> None:
    """One slice, 25 phases 16.43 s apart. The tumour's mean signal jumps after 49 s, reaches +183 % and stays: +172 % in the end.

    The arterial signal rises from the fifth phase at 66 s on, so that the injection is put at 60 s. Without it the early phase lies on the
    upstroke, which reads as persistent, and the timing says that it is not known.
    """
    stored = np.load(data / "dcemri_jl_invivo" / "invivo_dce.npz")
    times = tuple(float(t) for t in stored["t_s"])
    case = Case("fast", stored["dce"][:, None], Geometry((1.0, 1.0, 1.0), np.eye(4), (192, 192, 1)), times)
    mask = stored["tumour_semiauto"][None]
    assert not timing_of(case).known
    timing = timing_of(case, injection=60.0)
    assert timing.baseline == (0, 1, 2, 3)
    found = lesion_kinetics(case, timing, mask)
    assert (found.summary.type, found.summary.initial) == (PLATEAU, "fast")
    assert found.summary.pe == pytest.approx(180, abs=10)
    assert found.shares is not None and found.shares[NO_UPTAKE] < 5
    maps = run(kinetic_maps(case, timing))
    assert maps.type is not None
    healthy = (maps.pe != 0) & ~mask
    counts = np.bincount(maps.type[healthy], minlength=4)
    assert counts.argmax() == NO_UPTAKE  # most of the tissue does not enhance
    s0 = baseline(case.images, timing)
    assert np.median(percent_enhancement(case.images[timing.pe], s0)[healthy]) < 30
