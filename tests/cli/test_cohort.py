"""`predict` on a folder of many cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import Case, Prediction
from napari_breastseg.compute import here
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import Job, Progress

Cli = Callable[..., Any]


@pytest.fixture
def folder(phases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good case and one of which a file is cut short."""

    def predict(case: Case, model: Model, *, device: str, region: str, mirror: bool) -> Job[Prediction]:
        yield Progress(0, 1, "predicting")
        mask = (case.phase(1) > 350).astype(np.uint8)
        return Prediction(model.sha, mask.astype(np.float32), mask, mask, details={"device": "cpu", "engine": "none"})

    monkeypatch.setattr("napari_breastseg.cohort.predict.in_child", here)
    monkeypatch.setattr("napari_breastseg.cohort.job.predict", predict)
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    phases.rename(cohort / "[good]")
    (cohort / "bad").mkdir()
    for file in (cohort / "[good]").glob("case_*"):
        (cohort / "bad" / file.name).write_bytes(file.read_bytes()[:400])
    return cohort


def test_all_but_the_failures_are_done_and_these_are_listed_at_the_end(cli: Cli, folder: Path, weights: Path, tmp_path: Path) -> None:
    said = cli("predict", folder, "--out", tmp_path / "out", "--model", weights, "--json")
    assert said.code == 1 and "Traceback" not in said.err
    assert "not for cases: " in said.err
    answer = said.answer
    assert answer["left_out"] == [str(folder / "[good]" / "truth.nii.gz")]
    assert [(row["case"], row["status"]) for row in answer["cases"]] == [("[good]", "done"), ("bad", "failed")]
    assert (answer["done"], answer["skipped"]) == (1, 0) and answer["seconds_per_case"] == answer["seconds"]
    (failure,) = answer["failures"]
    assert failure["case"] == "bad" and "is cut short or damaged" in failure["error"]
    again = cli("predict", folder, "--out", tmp_path / "out", "--model", weights)
    assert again.code == 1
    lines = again.out.splitlines()
    assert any("[good]" in line and "mL" in line for line in lines)
    assert "0 case(s) predicted; 1 done before" in again.out
    last = again.out.index("1 case(s) failed; run the same command again to try only them:")
    assert "bad: " in again.out[last:]


def test_when_nothing_fails_it_is_exit_0(cli: Cli, folder: Path, weights: Path, tmp_path: Path) -> None:
    for file in (folder / "bad").iterdir():
        file.write_bytes((folder / "[good]" / file.name).read_bytes())
    assert cli("predict", folder, "--out", tmp_path / "out", "--model", weights, "--probability").code == 0
    assert (tmp_path / "out" / "probability" / "bad.nii.gz").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "mask.nii.gz"), "holds 2 examinations. Give --out a folder"),
        (("--session", "session"), "--session is for one"),
        (("--out", "out", "--times", "0,60"), "--times is for one"),
        (("--out", "out", "--maps", "frloss"), "--maps is for one"),
        (("--out", "cohort"), "Choose a folder outside of it"),
        (("--out", "cohort/out"), "Choose a folder outside of it"),
        (("--out", "out", "--overwrite"), "--overwrite is for one"),
        (("--out", "out", "--device", "tpu"), "tpu"),
        (("--out", "out", "--model", "no-such-model"), "There is no model"),
        (("--out", "out", "--scheduler", "nowhere"), "is no address of a Dask scheduler"),
    ],
)
def test_what_does_not_go_together_is_refused(
    cli: Cli, folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = () if "--model" in arguments else ("--model", weights)
    said = cli("predict", "cohort", *arguments, *model)
    assert said.code == 1 and sentence in said.err and "Traceback" not in said.err
    assert sorted(path.name for path in folder.iterdir()) == ["[good]", "bad"]
    assert not (tmp_path / "out").exists()


def test_a_folder_without_cases_and_one_with_a_single_case_further_down(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no examinations" in cli("predict", tmp_path / "empty", "--session", tmp_path / "s").err
    for file in (folder / "bad").iterdir():
        file.unlink()
    said = cli("predict", folder, "--out", tmp_path / "mask.nii.gz")
    assert said.code == 1 and "holds an examination further down" in said.err and "case_0000.nii.gz" in said.err


@pytest.mark.parametrize("option", [("--scheduler", "tcp://127.0.0.1:1"), ("--probability",)])
def test_what_is_for_many_is_refused_for_one(cli: Cli, phases: Path, weights: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    said = cli("predict", phases, "--out", tmp_path / "mask.nii.gz", "--model", weights, *option)
    assert said.code == 1 and f"is one examination, and {option[0]} is for a folder of several" in said.err
    assert not (tmp_path / "mask.nii.gz").exists()
