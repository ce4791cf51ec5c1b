"""A cohort on this computer: what is done stays and is not done again; what fails stops nothing; no file is ever half a file."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cohort_targets
import nibabel as nib
import numpy as np
import pytest

from napari_breastseg import make_phantom
from napari_breastseg.cohort import Cohort, job, lanes, predict, predict_cohort
from napari_breastseg.cohort.results import Results
from napari_breastseg.compute import here, in_child
from napari_breastseg.errors import InputError
from napari_breastseg.io import write_map
from napari_breastseg.io.listing import ListedCase, list_cases
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.progress import run

Make = Callable[..., list[ListedCase]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cases are predicted in this process, by the stand-in."""
    monkeypatch.setattr(predict, "in_child", here)
    monkeypatch.setattr(job, "predict", cohort_targets.predict)
    yield
    cohort_targets.predicted.clear()


def predicted_by(call: Callable[[], Any]) -> list[str]:
    cohort_targets.predicted.clear()
    call()
    return list(cohort_targets.predicted)


def statuses(cohort: Cohort) -> dict[str, str]:
    return {row.case: row.status for row in cohort.rows}


def visible(folder: Path) -> set[str]:
    """Every file that is there, but for the lock of the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "LOCK"}


def test_every_case_has_a_mask_a_record_and_a_row(cohort: Make, model: Model, out: Path) -> None:
    found = run(predict_cohort(cohort("a", "b"), model, out, probability=True))
    assert (found.done, found.skipped, found.failures) == (2, 0, [])
    files = {"a.nii.gz", "a.json", "b.nii.gz", "b.json", "probability/a.nii.gz", "probability/b.nii.gz", "summary.csv"}
    assert visible(out) == files
    mask, image = nib.load(out / "a.nii.gz"), nib.load(cohort("a")[0].files[0])
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
    assert np.asarray(mask.dataobj).sum() == 27
    assert np.asarray(nib.load(out / "probability" / "a.nii.gz").dataobj).dtype == np.float32
    record = json.loads((out / "a.json").read_text())
    assert record["asked"]["model"] == model.sha and record["tumour_ml"] == round(27 * 0.003, 3) and record["parts"] == 1
    rows = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert [(row["case"], row["status"], row["tumour_ml"], row["device"]) for row in rows] == [
        ("a", "done", "0.081", "cpu"),
        ("b", "done", "0.081", "cpu"),
    ]


def test_again_nothing_is_predicted_and_the_figures_are_the_same(cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a", "b")
    first = run(predict_cohort(cases, model, out))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    again: list[Cohort] = []
    assert predicted_by(lambda: again.append(run(predict_cohort(cases, model, out)))) == []
    assert (again[0].done, again[0].skipped) == (0, 2)
    assert [row.facts() for row in again[0].rows] == [row.facts() for row in first.rows]
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}


def test_what_changed_is_predicted_anew(cohort: Make, model: Model, other_model: Model, out: Path, tmp_path: Path) -> None:
    cases = cohort("a", "b")
    run(predict_cohort(cases, model, out))
    os.utime(cases[1].files[0], ns=(1, 1))
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == ["b"]
    (tmp_path / "cohort" / "a" / "times.json").write_text("[0, 60]")
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == ["a"]
    assert predicted_by(lambda: run(predict_cohort(cases, model, out, probability=True))) == ["a", "b"]
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == [], "more than is asked for is there already"
    assert predicted_by(lambda: run(predict_cohort(cases, other_model, out))) == ["a", "b"]
    assert not list((out / "probability").iterdir()), "the probability of another model than the mask's would mislead"
    (out / "a.nii.gz").unlink()
    assert predicted_by(lambda: run(predict_cohort(cases, other_model, out))) == ["a"]


def test_a_map_that_was_asked_for_and_is_gone_is_made_again(cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a")
    run(predict_cohort(cases, model, out, mirror=True))
    assert predicted_by(lambda: run(predict_cohort(cases, model, out, mirror=True))) == []
    (out / "uncertainty" / "a.nii.gz").unlink()
    assert predicted_by(lambda: run(predict_cohort(cases, model, out, mirror=True))) == ["a"]
    assert (out / "uncertainty" / "a.nii.gz").is_file()


def test_a_case_that_fails_stops_no_other_and_is_tried_again(cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a", "b", "faulty", "z")
    whole = cases[1].files[1].read_bytes()
    cases[1].files[1].write_bytes(whole[:500])
    found = run(predict_cohort(cases, model, out))
    assert statuses(found) == {"a": "done", "b": "failed", "faulty": "failed", "z": "done"}
    errors = {row.case: row.error for row in found.failures}
    assert f"{cases[1].files[1]} is cut short" in errors["b"]
    assert "ZeroDivisionError: a bug" in errors["faulty"] and "\n" not in errors["faulty"]
    assert visible(out) == {"a.nii.gz", "a.json", "z.nii.gz", "z.json", "summary.csv"}
    assert errors["b"] in (out / "summary.csv").read_text()
    cases[1].files[1].write_bytes(whole)
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == ["b", "faulty"]
    assert (out / "b.nii.gz").exists()


def test_unreadable_times_and_missing_files_are_failures_of_their_case(cohort: Make, model: Model, out: Path, tmp_path: Path) -> None:
    cases = cohort("a", "b", "c")
    (tmp_path / "cohort" / "a" / "times.json").write_text("{")
    cases[1].files[0].unlink()
    found = run(predict_cohort(cases, model, out))
    assert statuses(found) == {"a": "failed", "b": "failed", "c": "done"}
    assert "times.json is no readable JSON" in found.rows[0].error and "cannot be read" in found.rows[1].error


@pytest.mark.parametrize("whose", ["changed", "without a record"])
def test_a_mask_of_somebody_is_never_overwritten(cohort: Make, model: Model, other_model: Model, out: Path, whose: str) -> None:
    cases = cohort("a", "b")
    run(predict_cohort(cases, model, out))
    (out / "a.nii.gz").write_bytes(b"corrected by hand")
    if whose == "without a record":
        (out / "a.json").unlink()
    found = run(predict_cohort(cases, other_model, out))
    assert statuses(found) == {"a": "failed", "b": "done"}
    assert "was not written by this command, or was changed since. Move it away" in found.rows[0].error
    assert (out / "a.nii.gz").read_bytes() == b"corrected by hand"


def test_a_mask_that_is_corrected_while_its_case_is_predicted_anew_stays(cohort: Make, model: Model, other_model: Model, out: Path) -> None:
    cases = cohort("a", "slow b")
    run(predict_cohort(cases, model, out))
    going = predict_cohort(cases, other_model, out)
    before = (out / "a.json").read_bytes()
    while (out / "a.json").read_bytes() == before:
        next(going)
    (out / "slow b.nii.gz").write_bytes(b"corrected by hand")
    found = run(going)
    assert statuses(found) == {"a": "done", "slow b": "failed"}
    assert "was changed since. Move it away" in found.rows[1].error
    assert (out / "slow b.nii.gz").read_bytes() == b"corrected by hand"


def test_cancelling_keeps_what_is_done_and_leaves_nothing_half_done(cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a", "slow b", "slow c")
    going = predict_cohort(cases, model, out)
    while not (out / "a.json").exists():
        next(going)
    going.close()
    assert visible(out) == {"a.nii.gz", "a.json", "summary.csv"}
    rows = csv.DictReader((out / "summary.csv").read_text().splitlines())
    assert [row["status"] for row in rows] == ["done", "waiting", "waiting"]
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == ["slow b", "slow c"]


@pytest.mark.parametrize("moved", [[], ["a.nii.gz"], ["a.nii.gz", "probability/a.nii.gz"]])
@pytest.mark.parametrize("earlier", [False, True])
def test_killed_while_moving_a_case_it_is_moved_on(
    cohort: Make, model: Model, other_model: Model, out: Path, moved: list[str], earlier: bool
) -> None:
    """Whatever was moved when the power went: the next run has the case, whole, or predicts it anew."""
    cases = cohort("a")
    run(predict_cohort(cases, model, out.with_name("whole"), probability=True))
    if earlier:
        run(predict_cohort(cases, other_model, out, probability=True))
    with Results(out) as results:
        place = results.place("a")
        shutil.copytree(out.with_name("whole"), place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".work", "summary.csv"))
        for file in moved:
            (out / file).parent.mkdir(exist_ok=True)
            os.replace(place / file, out / file)
        results._tidy = lambda: None  # type: ignore[method-assign]  # killed here
    assert predicted_by(lambda: run(predict_cohort(cases, model, out, probability=True))) == []
    assert json.loads((out / "a.json").read_text())["asked"]["model"] == model.sha


def test_what_was_not_all_written_when_it_was_killed_is_thrown_away(cohort: Make, model: Model, out: Path) -> None:
    cases = cohort("a")
    run(predict_cohort(cases, model, out.with_name("whole")))
    with Results(out) as results:
        place = results.place("a")
        shutil.copy(out.with_name("whole") / "a.json", place)
        (place / "a.nii.gz").write_bytes((out.with_name("whole") / "a.nii.gz").read_bytes()[:-9])
        results._tidy = lambda: None  # type: ignore[method-assign]
    assert predicted_by(lambda: run(predict_cohort(cases, model, out))) == ["a"]
    assert (out / "a.nii.gz").read_bytes() == (out.with_name("whole") / "a.nii.gz").read_bytes()


def test_a_record_cannot_name_files_elsewhere(cohort: Make, model: Model, out: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("stays")
    with Results(out) as results:
        place = results.place("a")
        (place / "a.json").write_text(json.dumps({"files": {"a.nii.gz": "0", "../../../../precious": "0"}}))
        assert results.settle("a") is None
    run(predict_cohort(cohort("a"), model, out))
    assert (tmp_path / "precious").read_text() == "stays"


def test_one_run_at_a_time_writes_to_a_folder(cohort: Make, model: Model, out: Path) -> None:
    with Results(out), pytest.raises(InputError, match=f"Another run is writing to {out}. Wait"):
        run(predict_cohort(cohort("a"), model, out))
    out.with_name("file").touch()
    with pytest.raises(InputError, match="is a file. Give --out a folder"):
        run(predict_cohort(cohort("a"), model, out.with_name("file")))


def test_progress_counts_cases_and_says_how_long_it_may_take(cohort: Make, model: Model, out: Path) -> None:
    seen = []
    run(predict_cohort(cohort("a", "slow b"), model, out), seen.append)
    assert {step.total for step in seen} == {2} and [seen[0].step, seen[-1].step] == [0, 2]
    assert "a: Looking" in [step.message for step in seen]
    assert any(step.message.startswith("slow b: Looking; about ") and step.message.endswith(" left") for step in seen)
    assert all(step.payload is None for step in seen)


def test_a_killed_child_is_the_failure_of_the_case_at_work(cohort: Make, model: Model, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "in_child", in_child)
    monkeypatch.setattr(lanes, "JOB", "cohort_targets:predict_cases")
    found = run(predict_cohort(cohort("a", "deadly b", "c"), model, out))
    assert statuses(found) == {"a": "done", "deadly b": "failed", "c": "done"}
    assert "lack of memory" in found.failures[0].error


def test_the_starter_model_in_a_child_process(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "in_child", in_child)
    for seed in range(2):
        case = make_phantom(seed, (48, 64, 64), phases=2).case
        (tmp_path / "phantoms" / f"p{seed}").mkdir(parents=True)
        for index in range(2):
            write_map(case.images[index], case.geometry, tmp_path / "phantoms" / f"p{seed}" / f"scan_{index:04d}.nii.gz")
    found = run(predict_cohort(list_cases(tmp_path / "phantoms").cases, load_model("hcma-unet"), out))
    assert found.failures == [] and found.done == 2
    facts = found.rows[0].facts()
    assert facts["tumour_ml"] > 0 and facts["device"] and facts["engine"] and facts["seconds"] > 0
