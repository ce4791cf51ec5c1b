from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_breastseg.case import Case, Prediction
from napari_breastseg.cli.demo import _free
from napari_breastseg.cli.report import Report
from napari_breastseg.cli.versions import find_case
from napari_breastseg.cli.work import record_mask
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.loop import annotation_loop
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

Cli = Callable[..., Any]


HELP = """
import sys
from napari_breastseg.cli import main
sys.argv = ["napari-breastseg", "--help"]
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in ("torch", "monai", "numpy", "matplotlib") if name in sys.modules])
"""


def test_help_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("arguments", [("nonsense",), ("predict",), ("predict", "x.nii"), ("predict", "x", "--out", "y", "--times", "a,b")])
def test_wrong_usage_is_exit_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).code == 2


def test_info(cli: Cli) -> None:
    answer = cli("info", "--json").answer
    assert answer["devices"]["cpu"] and answer["scan"] and answer["threads"]["torch"] >= 1
    assert "torch" in cli("info").out


def test_methods_have_the_published_counts(cli: Cli) -> None:
    found = {row["name"]: row["parameters"] for row in cli("methods", "--json").answer["methods"]}
    published = {"paper": 2_872_984, "baseline": 2_579_180, "vssb": 3_191_100, "vssb-asc": 2_763_372, "vssb-asa": 4_009_512}
    for name, count in {**published, "mamba3d": 3_223_020}.items():
        assert found[f"hcma-unet/{name}"] == count


@pytest.mark.usefixtures("quick")
def test_predict_writes_the_mask_on_the_original_grid(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    said = cli("predict", phases, "--out", out, "--model", weights, "--json")
    assert said.code == 0
    assert said.answer["tumour_voxels"] == 22 and said.answer["device"] == "cpu"
    assert "a library that prints" not in said.out
    assert cli("predict", phases, "--out", out, "--model", weights).code == 1
    out.write_bytes(b"of another program")
    assert cli("predict", phases, "--out", out, "--model", weights, "--overwrite").code == 0
    written, image = nib.load(out), nib.load(phases / "case_0000.nii.gz")
    assert written.shape == image.shape and np.array_equal(written.affine, image.affine)
    assert np.asarray(written.dataobj).sum() == 22


@pytest.mark.parametrize("place", ["--out", "--session"])
def test_where_and_how_to_look_are_asked_for(
    cli: Cli, phases: Path, weights: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def predict(case: Case, model: Model, *, device: str, region: str, mirror: bool) -> Job[Prediction]:
        asked.append((region, mirror))
        yield Progress(0, 1, "predicting")
        none, map_ = np.zeros(case.shape, np.uint8), np.full(case.shape, 0.25, np.float32)
        return Prediction(model.sha, map_, none, none, maps={"uncertainty": map_} if mirror else {}, details={})

    monkeypatch.setattr(annotation_loop, "predict", predict)
    monkeypatch.setattr("napari_breastseg.inference.predict", predict)
    target = tmp_path / ("mask.nii.gz" if place == "--out" else "session")
    common = ("predict", phases, place, target, "--model", weights)
    assert cli(*common).code == 0
    said = cli(*common, "--full-field", "--mirror", "--overwrite")
    assert said.code == 0
    assert asked == [("breast", False), ("full", True)]
    if place == "--out":
        uncertainty = np.asarray(nib.load(tmp_path / "mask_uncertainty.nii.gz").dataobj)
        assert f"uncertainty in {tmp_path / 'mask_uncertainty.nii.gz'}" in said.out
        assert (uncertainty == 0.25).all() and uncertainty.shape == nib.load(target).shape
    else:
        with Session.open(target) as session:
            (case_id,) = session.cases
            kept = session.prediction(case_id)
            assert kept is not None and (np.asarray(kept.maps["uncertainty"]) == 0.25).all()


def test_a_log_gets_a_line_of_progress_now_and_then(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def job() -> Job[str]:
        yield Progress(1, 3, "first case")
        yield Progress(2, 3, "second case")
        return "done"

    assert Report(False).run(job()) == "done"
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("napari_breastseg.cli.report.LOG_EVERY", 0.0)
    Report(False).run(job())
    assert capfd.readouterr().err.splitlines() == ["1/3 first case", "2/3 second case"]


@pytest.mark.usefixtures("quick")
def test_a_session_from_the_first_prediction_to_the_export(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    first = cli("predict", phases, "--session", folder, "--model", weights, "--json").answer
    case_id = first["case_id"]
    truth = phases / "truth.nii.gz"
    learned = cli("learn", "--session", folder, "--correction", f"{case_id[:6]}={truth}", "--json")
    assert learned.code == 0 and learned.answer["adopted"] and learned.answer["reasons"] == ["a reason"]
    versions = cli("models", "--session", folder, "--json").answer
    assert [row["sha256"] for row in versions["models"]] == [first["model"], learned.answer["model"]]
    assert versions["current"] == learned.answer["model"]
    assert versions["models"][1]["round"] == 1
    again = cli("models", "--session", folder, "--use", first["model"][:8], "--json").answer
    assert again["current"] == first["model"]
    with Session.open(folder) as session:
        session.add_round([case_id], first["model"], learned.answer["model"], False, ["worse"], {}, {case_id: 1})
    overruled = cli("session", "overrule", "--session", folder, "--round", "2", "--note", "I know better", "--json").answer
    assert overruled == {"round": 2, "current": learned.answer["model"]}
    assert "Choose one that the session lists" in cli("session", "overrule", "--session", folder, "--round", "9").err
    cli("models", "--session", folder, "--use", first["model"][:8])
    exported = cli("export", "--session", folder, "--case", case_id[:6], "--out", tmp_path / "out", "--json").answer
    mask = np.asarray(nib.load(exported["mask"]).dataobj)
    assert np.array_equal(mask > 0, np.asarray(nib.load(truth).dataobj) > 0)
    assert json.loads(Path(exported["provenance"]).read_text())["prediction"]["model"] == first["model"]
    assert cli("verify", "--session", folder, "--json").answer == {"problems": []}


@pytest.mark.usefixtures("quick")
def test_a_session_is_looked_into_and_gone_back_in(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    first = cli("predict", phases, "--session", folder, "--model", weights, "--json").answer
    cli("learn", "--session", folder, "--correction", f"{first['case_id'][:6]}={phases / 'truth.nii.gz'}", "--json")
    of = ("--session", folder, "--case", first["case_id"][:6])
    moments = cli("session", "log", *of, "--json").answer["moments"]
    assert [moment["kind"] for moment in moments] == ["prediction", "edits", "mark", "round"]
    edits = moments[1]["version"]["seq"]
    shown = cli("session", "log", *of)
    assert shown.code == 0 and f"{edits}/1" in shown.out and "corrected mask" in shown.out
    changes = tmp_path / "changes.nii.gz"
    found = cli("session", "diff", *of, "--from", "0/1", "--out", changes, "--json").answer
    written = np.asarray(nib.load(changes).dataobj)
    assert found["added"] == np.count_nonzero(written == 1) and found["removed"] == np.count_nonzero(written == 2) > 0
    assert {share["by"] for share in found["shares"]} == {"corrected mask"}
    assert "added" in cli("session", "diff", *of, "--from", "0/0", "--to", "0/1").out
    assert cli("session", "diff", *of, "--from", "yesterday").code == 1
    back = cli("session", "checkout", *of, "--to", "0", "--json").answer
    assert (back["seq"], back["changed"]) == (edits + 1, True)
    assert not cli("session", "checkout", *of, "--to", "0", "--json").answer["changed"]
    assert cli("session", "diff", *of, "--from", "0/1", "--json").answer["box"] is None
    assert cli("session", "compact", "--session", folder, "--json").answer["freed_bytes"] >= 0
    assert cli("session", "repair", "--session", folder, "--json").answer == {"mended": [], "problems": []}
    (folder / "models" / f"{first['model']}.json").write_text("{}")
    assert cli("verify", "--session", folder).code == 1
    assert "written anew" in cli("session", "repair", "--session", folder).out
    (folder / "models" / f"{first['model']}.safetensors").write_bytes(b"")
    remains = cli("session", "repair", "--session", folder)
    assert remains.code == 1 and "Remains: " in remains.out


@pytest.mark.usefixtures("quick")
def test_a_session_can_leave_the_images_where_they_are(
    cli: Cli, phases: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_breastseg.session.links.user_state_path", lambda name: tmp_path / "account" / name)
    folder = tmp_path / "session"
    assert cli("predict", phases, "--link", "--out", tmp_path / "m.nii.gz").code == 2
    said = cli("predict", phases, "--session", folder, "--link", "--model", weights, "--json")
    assert said.code == 0 and not list((folder / "cases").glob("*"))
    with Session.open(folder) as session:
        np.testing.assert_array_equal(np.asarray(session.case(said.answer["case_id"]).images), read_case(phases).images)
    assert cli("export", "--session", folder, "--case", said.answer["case_id"], "--out", tmp_path / "out", "--ome-zarr").code == 0
    assert (tmp_path / "out" / f"{said.answer['case_id']}.ome.zarr" / "labels" / "tumour").is_dir()


def test_a_corrected_mask_becomes_an_edit_per_region_and_one_that_keeps_the_rest(phases: Path, tmp_path: Path) -> None:
    case = read_case(phases)
    truth = read_mask(phases / "truth.nii.gz", case)
    truth[0, 0, 0] = 1
    with Session.create(tmp_path / "session") as session:
        case_id = session.add_case(case)
        assert record_mask(session, case_id, truth) == 2
        assert [edit.tool for edit in session.edits(case_id)] == ["corrected mask", "corrected mask", "case done"]
        np.testing.assert_array_equal(session.mask(case_id), truth)
        assert record_mask(session, case_id, truth) == 0
        assert session.marks(case_id)[-1].what == "case-done"


def test_a_case_is_found_by_its_name_or_the_beginning_of_its_id(tiny_case: Case, tmp_path: Path) -> None:
    with Session.create(tmp_path / "session") as session:
        first, second = (
            session.add_case(replace(tiny_case, name=name, images=tiny_case.images + n)) for n, name in enumerate(("a b", "a b c"))
        )
        assert first != second
        assert [find_case(session, text) for text in ("a b", "a b c", first, second[:-1])] == [first, second, first, second]
        third = session.add_case(replace(tiny_case, name="a b", images=tiny_case.images + 9))
        for text in ("a b", "", "x"):
            with pytest.raises(InputError, match="Choose one of"):
                find_case(session, text)
        assert find_case(session, third) == third


@pytest.mark.usefixtures("quick")
def test_simulate_reports_every_round(cli: Cli, phases: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ("simulate", "--case", phases, "--reference", phases / "truth.nii.gz", "--model", weights, "--rounds", "1")
    said = cli(*arguments, "--session", tmp_path / "kept", "--json")
    assert said.code == 0
    rounds = said.answer["rounds"]
    assert [row["round"] for row in rounds] == [0, 1]
    assert rounds[0]["strokes"] == 0 and rounds[1]["strokes"] > 0 and rounds[1]["person_seconds"] > 0
    assert rounds[0]["dice"] == rounds[0]["dice_shown"] < rounds[1]["dice_shown"]
    assert rounds[1]["dice"] == rounds[0]["dice"], "the model's own prediction does not profit from the overlay"
    with Session.open(tmp_path / "kept") as session:
        assert len(session.rounds()) == 1 and len(session.predictions(session.cases[0])) == 2
    assert "Dice shown" in cli(*arguments, "--rounds", "0").out


@pytest.mark.usefixtures("quick")
def test_demo_keeps_the_session_and_draws_a_picture(cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_breastseg.cli.demo.SHAPE", (24, 40, 40))
    monkeypatch.setattr("napari_breastseg.methods.model.starter_models", lambda: {"hcma-unet/practical": weights})
    said = cli("demo", "--out", tmp_path / "demo", "--rounds", "1", "--json")
    assert said.code == 0, said.err
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    with Session.open(said.answer["session"]) as session:
        assert session.verify() == []
    assert _free(tmp_path / "demo" / "session").name == "session-2"


def test_train_hands_its_settings_over(cli: Cli, phases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fake(preset: Any, config: Any, out: Path, labelled: Any, start: Any, device: str, encoder: Path | None) -> Any:
        seen.update(preset=preset.name, config=config, labelled=[case.name for case in labelled], encoder=encoder)
        out.mkdir(exist_ok=True)
        (out / "settings.json").touch()
        return out / "model.safetensors"
        yield

    monkeypatch.setattr("napari_breastseg.training.from_scratch.train_from_scratch", fake)
    (phases / "truth.nii.gz").rename(phases / "case_mask.nii.gz")
    data, out = phases.rename(tmp_path / "data-case").parent / "data", tmp_path / "out"
    data.mkdir()
    (tmp_path / "data-case").rename(data / "one")
    arguments = ("train", "hcma-unet/paper", "--out", out, "--data", data, "--phantoms", "3", "--steps", "5", "--json")
    assert cli(*arguments, "--resume").code == 1
    answer = cli(*arguments).answer
    assert answer["cases"] == 1 and answer["model"] == str(out / "model.safetensors")
    assert seen["preset"] == "hcma-unet/paper" and seen["config"].phantoms == 3 and seen["config"].steps == 5
    assert seen["labelled"] == ["one"] and seen["config"].frloss is None
    assert "--resume" in cli(*arguments).answer["error"]
    assert cli(*arguments, "--resume").code == 0


def test_train_of_images_has_their_own_batches(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fake(preset: Any, config: Any, out: Path, labelled: Any, start: Any, device: str, encoder: Path | None) -> Any:
        seen.update(preset=preset.name, config=config, encoder=encoder)
        return out / "model.safetensors"
        yield

    monkeypatch.setattr("napari_breastseg.training.from_scratch.train_from_scratch", fake)
    answer = cli("train", "ha-net/paper", "--out", tmp_path / "out", "--balanced", "--encoder", "densenet121.safetensors", "--json").answer
    assert (answer["preset"], answer["phantoms"], answer["batch"], answer["patch"]) == ("ha-net/paper", 0, 8, 256)
    assert seen["config"].balanced and seen["encoder"] == Path("densenet121.safetensors")


@pytest.mark.parametrize(
    ("row", "terms"),
    [
        ("pos", ("pos",)),
        ("boundary", ("boundary",)),
        ("neg", ("neg",)),
        ("pos+boundary", ("pos", "boundary")),
        ("pos+neg", ("pos", "neg")),
        ("boundary+neg", ("boundary", "neg")),
        ("all", ("pos", "boundary", "neg")),
    ],
)
def test_train_takes_every_row_of_table_iii(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, terms: tuple[str, ...]
) -> None:
    seen: dict[str, Any] = {}

    def fake(preset: Any, config: Any, out: Path, *_: Any) -> Any:
        seen["frloss"] = config.frloss
        return out / "model.safetensors"
        yield

    monkeypatch.setattr("napari_breastseg.training.from_scratch.train_from_scratch", fake)
    numbers = ("--frloss-weight", "2.5", "--boundary-reach", "3", "--negative-reach", "4", "--hardest", "17")
    said = cli("train", "hcma-unet/paper", "--out", tmp_path / "out", "--frloss", row, *numbers, "--json")
    assert said.code == 0 and said.answer["frloss"]["terms"] == row
    loss = seen["frloss"]
    assert loss.terms == terms
    assert (loss.weight, loss.boundary_reach, loss.negative_reach, loss.hardest) == (2.5, 3, 4, 17)


@pytest.mark.parametrize(
    "wrong", [("--frloss", "everything"), ("--frloss", "neg+pos"), ("--hardest", "0"), ("--boundary-reach", "-1"), ("--frloss-weight", "x")]
)
def test_wrong_words_for_frloss_are_wrong_usage(cli: Cli, tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert cli("train", "hcma-unet/paper", "--out", tmp_path / "out", *wrong).code == 2
    assert not (tmp_path / "out").exists()
