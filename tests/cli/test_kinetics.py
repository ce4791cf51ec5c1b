"""`kinetics`: figures, maps and words that agree with the core, and bad input in one sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_breastseg.phantom import TISSUES, make_phantom

AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])
SIGNALS = (100.0, 200.0, 180.0, 150.0)
"""Before contrast, then 90, 180 and 450 s after the injection: PE 80 at 180 s, SER (180 - 100) / (150 - 100), wash-out of 25 %."""


@pytest.fixture
def examination(tmp_path: Path) -> Path:
    """A dark field of 20 x 16 x 12 voxels of 3 cubic millimetres with a lesion of 5 x 5 x 5 that washes out, and its mask."""
    folder = tmp_path / "washing"
    folder.mkdir()
    lesion = np.zeros((20, 16, 12), np.uint8)
    lesion[6:11, 5:10, 3:8] = 1
    for index, signal in enumerate(SIGNALS):
        nib.save(nib.Nifti1Image(np.where(lesion, signal, 90.0).astype(np.float32), AFFINE), folder / f"washing_000{index}.nii.gz")
    nib.save(nib.Nifti1Image(lesion, AFFINE), tmp_path / "mask.nii.gz")
    (folder / "times.json").write_text(json.dumps({"times": [-60, 90, 180, 450]}))
    return folder


def test_the_figures_of_a_lesion_are_those_of_its_signals(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    said = cli("kinetics", examination, "--mask", tmp_path / "mask.nii.gz", "--out", tmp_path / "out", "--json")
    assert said.code == 0, said.err
    answer = said.answer
    assert answer["lesion"]["ml"] == pytest.approx(125 * 3 / 1000)
    curve = answer["curves"]["lesion"]
    assert (curve["type"], curve["initial"]) == ("wash-out", "medium")
    assert curve["pe"] == pytest.approx(80) and curve["ser"] == pytest.approx(1.6)
    assert answer["lesion"]["shares_percent"]["wash-out"] == 100
    ftv = answer["functional_tumour_volume"]
    assert ftv["ml"] == pytest.approx(0.375) and ftv["name"] == "FTV"
    for name, expected in {"pe": 80, "ser": 1.6, "type": 3}.items():
        values = np.asarray(nib.load(answer["files"][name]).dataobj)
        np.testing.assert_allclose(values[6:11, 5:10, 3:8], expected, rtol=1e-3)
        assert values[0, 0, 0] == 0
    rows = list(csv.DictReader((tmp_path / "out" / "curves.csv").open()))
    assert [float(row["signal_mean"]) for row in rows] == list(SIGNALS)
    assert json.loads((tmp_path / "out" / "kinetics.json").read_text())["lesion"] == answer["lesion"]


def test_the_background_is_measured_where_the_gland_is_given(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    """The gland's signal rises from 50 to 70, but for what lies within 5 mm of the lesion, which rises more."""
    gland = np.zeros((20, 16, 12), np.uint8)
    gland[6:, 5:10, 3:8] = 1
    for index, phase in enumerate(sorted(examination.glob("*.nii.gz"))):
        image = np.asarray(nib.load(phase).dataobj).copy()
        image[11:] = 50 + 40 * (index > 0)
        image[15:] = 50 + 20 * (index > 0)  # the lesion ends at 10, and voxels are 1 mm wide along this axis
        nib.save(nib.Nifti1Image(image, AFFINE), phase)
    nib.save(nib.Nifti1Image(gland, AFFINE), tmp_path / "gland.nii.gz")
    masks = ["--mask", tmp_path / "mask.nii.gz", "--gland", tmp_path / "gland.nii.gz"]
    said = cli("kinetics", examination, *masks, "--json")
    assert said.answer["background_enhancement_percent"] == pytest.approx(40)
    assert "40 % of the fibroglandular tissue" in cli("kinetics", examination, *masks).out
    alone = cli("kinetics", examination, *masks[2:])
    assert alone.code == 0 and "BPE" in alone.out and "volume" not in alone.out
    gland[:] = 0
    nib.save(nib.Nifti1Image(gland, AFFINE), tmp_path / "gland.nii.gz")
    refused = cli("kinetics", examination, *masks)
    assert refused.code == 1 and "fibroglandular tissue is empty" in refused.err


def test_people_read_words(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    said = cli("kinetics", examination, "--mask", tmp_path / "mask.nii.gz")
    assert said.code == 0
    for words in ("0.38 mL", "wash-out, SER 1.60", "100 % wash-out", "FTV"):
        assert words in said.out


def test_what_is_there_is_not_replaced_unasked(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    assert cli("kinetics", examination, "--out", tmp_path / "out").code == 0
    again = cli("kinetics", examination, "--out", tmp_path / "out")
    assert again.code == 1 and "--overwrite" in again.err
    assert cli("kinetics", examination, "--out", tmp_path / "out", "--overwrite").code == 0


def test_missing_times_and_two_phases_still_say_something(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    (examination / "times.json").unlink()
    said = cli("kinetics", examination, "--mask", tmp_path / "mask.nii.gz", "--json")
    assert said.code == 0 and said.answer["functional_tumour_volume"]["name"] == "FTV-like"
    assert not {"wash_in", "wash_out"} & set(said.answer["files"])
    assert "no times" in said.err and said.answer["timing"]["slopes_hold"] is False
    for index in (2, 3):
        (examination / f"washing_000{index}.nii.gz").unlink()
    said = cli("kinetics", examination, "--mask", tmp_path / "mask.nii.gz", "--json")
    assert said.code == 0 and said.answer["functional_tumour_volume"] is None
    assert said.answer["curves"]["lesion"]["pe"] == pytest.approx(100)


def test_what_cannot_be_measured_is_one_sentence(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    cases = {
        "do not increase": ("--times", "0,90,80,450"),
        "No phase lies": ("--times", "0,90,180,450", "--injection", "500"),
        "4 phases": ("--times", "0,90"),
    }
    for words, options in cases.items():
        said = cli("kinetics", examination, *options, "--json")
        assert said.code == 1 and words in said.answer["error"], said.answer
    assert cli("kinetics", examination, "--clusters").code == 2
    for index in (1, 2, 3):
        (examination / f"washing_000{index}.nii.gz").unlink()
    said = cli("kinetics", examination, "--times", "0", "--json")
    assert said.code == 1 and "one phase" in said.answer["error"]


def test_seconds_that_are_none_are_wrong_usage(cli: Callable[..., Any], examination: Path) -> None:
    assert cli("kinetics", examination, "--times", "0,60,abc").code == 2


def test_clusters_that_cannot_be_had_leave_nothing_behind(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    for phase in sorted(examination.glob("*.nii.gz"))[2:]:
        phase.unlink()
    (examination / "times.json").unlink()
    refused = cli("kinetics", examination, "--clusters", "--out", tmp_path / "out")
    assert refused.code == 1
    assert not (tmp_path / "out").exists()


def test_maps_of_an_earlier_run_do_not_stay_beside_the_figures_of_a_later_one(
    cli: Callable[..., Any], examination: Path, tmp_path: Path
) -> None:
    assert cli("kinetics", examination, "--out", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "wash-in.nii.gz").exists()
    (examination / "times.json").unlink()
    assert cli("kinetics", examination, "--out", tmp_path / "out", "--overwrite").code == 0
    assert not (tmp_path / "out" / "wash-in.nii.gz").exists() and (tmp_path / "out" / "pe.nii.gz").exists()


def test_clusters_are_written_on_the_grid_of_the_case(cli: Callable[..., Any], examination: Path, tmp_path: Path) -> None:
    said = cli("kinetics", examination, "--out", tmp_path / "out", "--clusters", "--json")
    assert said.code == 1 and "No breast was found" in said.answer["error"]  # in a field without one
    phantom = make_phantom(2, (40, 64, 64), phases=4)
    folder = tmp_path / "phantom"
    folder.mkdir()
    for index in range(4):
        nib.save(
            nib.Nifti1Image(phantom.case.phase(index).transpose(2, 1, 0), phantom.case.geometry.affine), folder / f"p_000{index}.nii.gz"
        )
    times = ",".join(map(str, phantom.case.times))
    said = cli("kinetics", folder, "--times", times, "--out", tmp_path / "maps", "--clusters", "--json")
    assert said.code == 0, said.err
    labels = np.asarray(nib.load(said.answer["files"]["clusters"]).dataobj).transpose(2, 1, 0)
    assert labels.shape == phantom.case.shape and labels.max() <= 11
    air = phantom.tissue == TISSUES.index("air")
    gland = phantom.tissue == TISSUES.index("gland")
    assert (labels[air] > 0).mean() < 0.1 and (labels[gland] > 0).mean() > 0.98
