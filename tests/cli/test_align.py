"""`align`: what it measures, what it writes, and what it never writes over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_breastseg.io import read_case

Cli = Callable[..., Any]
AFFINE = np.array([[0, -1.6, 0, 50.0], [1.6, 0, 0, -40.0], [0, 0, 2.0, 7.0], [0, 0, 0, 1.0]])  # its axes are not those inside
SHAPE = (64, 60, 48)
TIMES = [-60.0, 90.0, 180.0]


@pytest.fixture(scope="module")
def phases() -> list[np.ndarray]:
    """Blobs in an ellipsoid; the first phase lies three voxels further along the second axis of the files than the others."""
    rng = np.random.default_rng(5)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = ndimage.gaussian_filter(((i / 0.8) ** 2 + (j / 0.75) ** 2 + (k / 0.85) ** 2 < 1).astype(np.float32), 0.8)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.8)
    gland = ndimage.gaussian_filter((texture > 0.6 * texture.std()).astype(np.float32), 0.6)
    clean = [np.roll(body * (60 + 60 * gland), 3, axis=1), body * (62 + 110 * gland), body * (60 + 100 * gland)]
    return [(volume + rng.normal(0, 2, SHAPE)).astype(np.float32) for volume in clean]


@pytest.fixture
def case(tmp_path: Path, phases: list[np.ndarray]) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    for index, volume in enumerate(phases):
        nib.save(nib.Nifti1Image(volume, AFFINE), folder / f"one_{index:04d}.nii.gz")
    (folder / "one.json").write_text(json.dumps(TIMES))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_check_says_how_far_the_phases_lie_apart_and_writes_nothing(cli: Cli, case: Path) -> None:
    before = contents(case.parent)
    said = cli("align", case, "--check", "--json")
    assert said.code == 0, said.err
    first, last = said.answer["phases"]
    assert (first["phase"], first["advised"], last["phase"], last["advised"]) == (0, True, 2, False)
    assert first["median_mm"] == pytest.approx(3 * 1.6, abs=0.4) and first["median_voxels"] == pytest.approx(3, abs=0.25)
    assert said.answer["advised"] and said.answer["reference"] == 1
    shown = cli("align", case, "--check").out
    assert said.answer["words"] in shown and "median voxels" in shown
    assert contents(case.parent) == before


def test_aligned_phases_are_an_examination_on_the_same_grid_with_the_same_times(cli: Cli, case: Path, phases: list[np.ndarray]) -> None:
    out = case.parent / "aligned"
    said = cli("align", case, "--out", out, "--json")
    assert said.code == 0, said.err
    assert said.answer["files"] == [str(out / f"one_{index:04d}.nii.gz") for index in range(3)]
    assert [row["how"] for row in said.answer["phases"]] == ["deformable", "unchanged"]
    for index, volume in enumerate(phases):
        written = nib.load(out / f"one_{index:04d}.nii.gz")
        assert written.get_data_dtype() == np.float32
        np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)
        if index:
            assert np.array_equal(np.asarray(written.dataobj), volume)
    inner = (slice(16, -16),) * 3
    first = np.asarray(nib.load(out / "one_0000.nii.gz").dataobj)
    still = np.roll(phases[0], -3, axis=1)
    assert np.abs(first - still)[inner].mean() < 0.3 * np.abs(phases[0] - still)[inner].mean()
    again = read_case(out)
    assert again.times == tuple(TIMES) and again.name == "one" and again.phases == 3
    told = json.loads((out / "one.json").read_text())["aligned"]
    assert told["kind"] == "deformable" and told["phases"][0]["after"]["median_voxels"] < 0.25


def test_rigid_alignment_is_said_to_be_rigid(cli: Cli, case: Path) -> None:
    said = cli("align", case, "--out", case.parent / "aligned", "--rigid")
    assert said.code == 0, said.err
    assert "was aligned (rigid)" in said.out and "voxels after" in said.out


def test_one_file_with_all_phases_becomes_one_file_per_phase(cli: Cli, tmp_path: Path, phases: list[np.ndarray]) -> None:
    nib.save(nib.Nifti1Image(np.stack(phases, -1), AFFINE), tmp_path / "series.nii.gz")
    out = tmp_path / "aligned"
    assert cli("align", tmp_path / "series.nii.gz", "--out", out, "--rigid").code == 0
    assert read_case(out).phases == 3
    assert json.loads((out / "series.json").read_text()).keys() == {"aligned"}, "there were no times"
    assert cli("align", tmp_path / "series.nii.gz", "--out", tmp_path).code == 1


def test_what_is_there_is_replaced_only_when_asked(cli: Cli, case: Path) -> None:
    out = case.parent / "aligned"
    out.mkdir()
    (out / "one_0001.nii.gz").write_bytes(b"mine")
    said = cli("align", case, "--out", out, "--json")
    assert said.code == 1 and "--overwrite" in said.answer["error"]
    assert contents(out) == {"one_0001.nii.gz": b"mine"}
    assert cli("align", case, "--out", out, "--rigid", "--overwrite").code == 0
    assert read_case(out).phases == 3


@pytest.mark.parametrize("name", ["", "../one", "link"])
def test_the_examination_itself_is_never_written_over(cli: Cli, case: Path, name: str) -> None:
    (case / "link").symlink_to(case, target_is_directory=True)
    before = contents(case)
    said = cli("align", case, "--out", case / name, "--overwrite", "--json")
    assert said.code == 1 and "never written over" in said.answer["error"] and "Traceback" not in said.err
    assert contents(case) == before


@pytest.mark.parametrize(("name", "sentence"), [("other_0000.nii.gz", "holds other images"), ("one_0003.nii.gz", "holds other images")])
def test_phases_are_never_mixed_with_other_images(cli: Cli, case: Path, name: str, sentence: str) -> None:
    out = case.parent / "aligned"
    out.mkdir()
    (out / name).write_bytes(b"x")
    said = cli("align", case, "--out", out, "--overwrite", "--json")
    assert said.code == 1 and sentence in said.answer["error"]
    assert contents(out) == {name: b"x"}


@pytest.mark.parametrize("arguments", [(), ("--check", "--out", "x"), ("--check", "--rigid")])
def test_options_that_do_not_go_together_are_wrong_usage(cli: Cli, case: Path, arguments: tuple[str, ...]) -> None:
    assert cli("align", case, *arguments).code == 2


@pytest.mark.parametrize("what", ["one phase", "constant", "not a number", "flat", "missing", "a file for a folder"])
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(cli: Cli, case: Path, phases: list[np.ndarray], what: str) -> None:
    out, spoiled = case.parent / "aligned", phases[0].copy()
    given = case
    if what == "one phase":
        given = case / "one_0001.nii.gz"
    elif what == "constant":
        spoiled[:] = 7
    elif what == "not a number":
        spoiled[30, 30, 20] = np.nan
    elif what == "flat":
        given = case.parent / "flat.nii.gz"
        nib.save(nib.Nifti1Image(np.stack(phases, -1)[:, :, 20:21], AFFINE), given)
    elif what == "missing":
        given = case.parent / "nothing"
    else:
        out.write_text("a file")
    nib.save(nib.Nifti1Image(spoiled, AFFINE), case / "one_0000.nii.gz")
    before = contents(case.parent)
    said = cli("align", given, "--out", out, "--json")
    assert said.code == 1 and "Traceback" not in said.err
    assert said.answer.keys() == {"error"} and said.answer["error"] in " ".join(said.err.split())
    assert contents(case.parent) == before
