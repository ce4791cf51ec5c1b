"""`predict --maps frloss`: files, rows, and what a session keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_breastseg.case import Prediction
from napari_breastseg.errors import ComputeError
from napari_breastseg.session import Session

Cli = Callable[..., Any]


def test_an_unknown_map_is_wrong_usage(cli: Cli) -> None:
    assert cli("predict", "x", "--out", "y.nii", "--maps", "tic").code == 2


def test_options_without_effect_are_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    assert cli("predict", "x", "--out", "y.nii", "--hardest", "7").code == 2
    assert cli("train", "hcma-unet", "--out", tmp_path / "run", "--frloss-weight", "3").code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("quick")
def test_maps_are_written_beside_the_mask_and_rows_are_listed(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ("predict", phases, "--out", tmp_path / "mask.nii.gz", "--model", weights, "--maps", "frloss", "--hardest", "40")
    said = cli(*arguments, "--json")
    assert said.code == 0, said.err
    image, mask = nib.load(phases / "case_0000.nii.gz"), np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    names = {"frloss-similarity": np.float32, "frloss-boundary": np.uint8, "frloss-negative": np.uint8, "frloss-hardest": np.uint8}
    assert set(said.answer["maps"]) == set(names)
    found = {}
    for name, dtype in names.items():
        assert said.answer["maps"][name] == str(tmp_path / f"mask_{name}.nii.gz")
        written = nib.load(said.answer["maps"][name])
        assert written.get_data_dtype() == dtype and np.array_equal(written.affine, image.affine)
        found[name] = np.asarray(written.dataobj)
    assert np.abs(found["frloss-similarity"]).max() <= 1
    assert found["frloss-similarity"][mask == 1].mean() > found["frloss-similarity"][mask == 0].mean()
    assert not any(found[name][mask == 1].any() for name in names if name != "frloss-similarity")
    rows = said.answer["hard_negatives"]
    assert [row["number"] for row in rows] == list(range(1, found["frloss-hardest"].max() + 1))
    assert {"volume_ml", "similarity", "enhancement", "distance_mm", "centre", "cause"} < set(rows[0])
    for row in rows:  # as the files count voxels, and in scanner coordinates
        assert found["frloss-hardest"][tuple(row["centre"])] == row["number"]
        assert np.allclose(nib.affines.apply_affine(image.affine, row["centre"]), row["ras_mm"], atol=0.06)
        assert found["frloss-similarity"][found["frloss-hardest"] == row["number"]].mean() == pytest.approx(row["similarity"], abs=1e-5)
    labels, parts = ndimage.label(mask, np.ones((3, 3, 3)))
    assert said.answer["parts"] == parts
    assert said.answer["largest_ml"] == pytest.approx(
        np.bincount(labels.ravel())[1:].max() * abs(np.linalg.det(image.affine)) / 1000, abs=1e-3
    )
    assert said.answer["explanation"]["hardest"] == 40 and said.answer["explanation"]["region"] == "breast"
    assert "likely cause" in cli(*arguments, "--overwrite").out
    assert cli(*arguments, "--full-field", "--overwrite", "--json").answer["explanation"]["region"] == "full"


@pytest.mark.usefixtures("quick")
def test_a_session_keeps_the_maps_with_their_prediction(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    answer = cli("predict", phases, "--session", folder, "--model", weights, "--maps", "frloss", "--json").answer
    assert set(answer["maps"].values()) == {None} and answer["hard_negatives"]
    with Session.open(folder) as session:
        prediction = session.prediction(answer["case_id"])
        assert len(session.predictions(answer["case_id"])) == 1
        assert prediction is not None and set(prediction.maps) == set(answer["maps"])
        assert prediction.maps["frloss-similarity"].dtype == np.float32
        assert session.verify() == []


@pytest.mark.usefixtures("quick")
def test_without_tumour_there_is_a_mask_but_no_map(
    cli: Cli, phases: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(case: Any, model: Any, *, device: str, region: str, mirror: bool) -> Any:
        empty = np.zeros(case.shape, np.uint8)
        return Prediction(model.sha, empty.astype(np.float32), empty, empty)
        yield

    old, other = tmp_path / "m_frloss-negative.nii.gz", tmp_path / "another_m_frloss-negative.nii.gz"
    old.touch()
    other.touch()
    monkeypatch.setattr("napari_breastseg.inference.predict", nothing)
    said = cli("predict", phases, "--out", tmp_path / "m.nii.gz", "--model", weights, "--maps", "frloss", "--json")
    assert said.code == 0 and "no tumour in the mask" in said.err
    assert said.answer["maps"] == {} and (tmp_path / "m.nii.gz").exists()
    assert not old.exists() and other.exists()


@pytest.mark.usefixtures("quick")
def test_a_prediction_is_kept_when_its_maps_fail(
    cli: Cli, phases: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ComputeError("There is too little memory. Close other programs.")
        yield

    monkeypatch.setattr("napari_breastseg.inference.explain", fail)
    said = cli("predict", phases, "--session", tmp_path / "s", "--out", tmp_path / "m.nii.gz", "--model", weights, "--maps", "frloss")
    assert said.code == 1 and "too little memory" in said.err
    assert (tmp_path / "m.nii.gz").exists()
    with Session.open(tmp_path / "s") as session:
        assert len(session.predictions(session.cases[0])) == 1
