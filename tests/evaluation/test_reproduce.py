"""A table of the paper on a small cohort of phantoms: every row, figures that hold, a split that stays, and work that is done once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import compute_iou, get_confusion_matrix
from typer.testing import CliRunner

from napari_breastseg.cli.app import app
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.evaluation import reproduce as module
from napari_breastseg.evaluation.reproduce import Reproduction, reproduce
from napari_breastseg.evaluation.splits import SplitPlan
from napari_breastseg.inference.engines import force_engine
from napari_breastseg.io.cohort import find_cases
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import run

EDGE = 20


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cubes of 20 voxels of 1.5 mm around the tumour of a phantom, each a folder with two phases and a mask."""
    folder = tmp_path_factory.mktemp("cohort")
    for seed in range(4):
        phantom = make_phantom(400 + seed, (32, 48, 48), phases=2, lesions=1, diameter=30.0, benign=1)
        middle = np.argwhere(phantom.tumour).mean(0).astype(int) if phantom.tumour.any() else np.array([16, 24, 24])
        low = np.clip(middle - EDGE // 2, 0, np.array(phantom.tumour.shape) - EDGE)
        cube = tuple(slice(a, a + EDGE) for a in low)
        place = folder / f"patient_{seed}"
        place.mkdir()
        arrays = {f"p_{i:04d}": phantom.case.phase(i)[cube] for i in range(2)} | {"mask": phantom.tumour[cube]}
        for name, array in arrays.items():
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([-1.5, -1.5, 1.5, 1.0])), place / f"{name}.nii.gz")
    return folder


def digests(folder: Path, pattern: str) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob(pattern))
    }


def command(cohort: Path, out: Path, *more: str) -> Any:
    settings = ["--steps", "1", "--batch", "1", "--patch", "16", "--test-share", "0.25", "--device", "cpu"]
    return CliRunner().invoke(
        app, ["reproduce", "hcma-unet", "--table", "3", "--data", str(cohort), "--out", str(out), *settings, *more, "--json"]
    )


@pytest.fixture
def plain_torch() -> Iterator[None]:
    """No OpenVINO: compiling eight networks takes minutes, running them on a few windows does not."""
    force_engine("torch")
    yield
    force_engine(None)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_torch")
def test_table_3_on_phantoms(cohort: Path, tmp_path: Path) -> None:
    said = command(cohort, tmp_path)
    assert said.exit_code == 0, said.stderr
    answer = json.loads(said.stdout)

    split = json.loads((tmp_path / "split.json").read_text())["splits"]
    assert len(split) == 1 and len(split[0]["test"]) == 1
    assert sorted(split[0]["training"] + split[0]["test"]) == [f"patient_{i}" for i in range(4)]

    assert len(answer["rows"]) == 8 and len(answer["cases"]) == 8
    for case in answer["cases"]:
        assert case["case"] == split[0]["test"][0]
        place = tmp_path / "hcma-unet-table-3" / case["row"] / "fold-0-seed-0"
        written = nib.load(place / "predictions" / f"{case['case']}.nii.gz")
        truth = nib.load(cohort / case["case"] / "mask.nii.gz")
        assert np.array_equal(written.affine, truth.affine)
        expected = by_monai(np.asarray(written.dataobj), np.asarray(truth.dataobj))
        assert {metric: case[metric] for metric in expected} == pytest.approx(expected, abs=1e-6)
        row = next(row for row in answer["rows"] if row["key"] == case["row"])
        assert row["metrics"]["dice"]["mean"] == pytest.approx(case["dice"])

    text = (tmp_path / "hcma-unet-table-3" / "table.md").read_text()
    for heading in ("pos", "boundary", "neg", "Dice", "Precision", "Recall", "IoU", "VS", "paper"):
        assert f"| {heading} " in text
    weights = digests(tmp_path, "weights.safetensors")
    assert len(weights) == 8 and len({sha for sha, _ in weights.values()}) == 8  # eight losses, eight networks

    (tmp_path / "hcma-unet-table-3" / "pos" / "fold-0-seed-0" / "results.json").unlink()  # as if killed before its prediction
    before = digests(tmp_path, "split.json")
    again = command(cohort, tmp_path)
    assert json.loads(again.stdout)["cases"] == answer["cases"]
    assert digests(tmp_path, "weights.safetensors") == weights and digests(tmp_path, "split.json") == before

    other = command(cohort, tmp_path, "--steps", "2")
    assert other.exit_code == 1 and "steps 1 there, 2 now" in json.loads(other.stdout)["error"]


def by_monai(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The five metrics from MONAI's confusion matrix and IoU; an undefined precision is 0 beside a tumour."""
    predicted, reference = (torch.from_numpy(a > 0)[None, None].float() for a in (mask, truth))
    tp, fp, _, fn = get_confusion_matrix(predicted, reference)[0, 0].tolist()
    assert tp + fn > 0
    return {
        "dice": 2 * tp / (2 * tp + fp + fn),
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn),
        "iou": float(compute_iou(predicted, reference)[0, 0]),
        "volumetric_similarity": 1 - abs(mask.sum() - truth.sum()) / (mask.sum() + truth.sum()),
    }


class Stop(Exception):
    pass


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training is a stand-in that records its folder; prediction calls bright voxels tumour."""
    calls: list[str] = []

    def train(preset: Any, config: Any, out: Path, labelled: Any, device: str, prepared: Path, encoder: None) -> Any:
        calls.append(f"{out.parent.name}/{out.name}: {len(labelled)}, {config.frloss.terms if config.frloss else ()}")
        out.mkdir(parents=True)
        (out / "state.safetensors").touch()
        return {"w": torch.zeros(1)}
        yield

    def predict(case: Any, model: Any, *, device: str) -> Any:
        mask = (case.phase(1) > np.quantile(case.phase(1), 0.9)).astype(np.uint8)
        return type("P", (), {"refined": mask})()
        yield

    monkeypatch.setattr(module, "train_weights", train)
    monkeypatch.setattr(module, "predict", predict)
    return calls


def test_folds_and_seeds_are_pooled_by_patient(cohort: Path, tmp_path: Path, trained: list[str]) -> None:
    settings = Reproduction("hcma-unet", 2, seeds=2, split=SplitPlan(folds=2))
    answer = run(reproduce(find_cases(cohort), settings, tmp_path))
    assert len(trained) == len(set(trained)) == 6 * 2 * 2 and all(": 2, ()" in call for call in trained)
    for row in answer["rows"]:
        cases = [case for case in answer["cases"] if case["row"] == row["key"]]
        assert row["patients"] == 4 and sorted(c["case"] for c in cases) == sorted([f"patient_{i}" for i in range(4)] * 2)
        assert row["metrics"]["iou"]["mean"] == pytest.approx(np.mean([c["iou"] for c in cases]))
        low, high = row["metrics"]["iou"]["ci95"]
        assert low < row["metrics"]["iou"]["mean"] < high


def test_a_kill_loses_only_the_run_at_hand(cohort: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., Any] = module._write_report
    reports = 0

    def killed(*arguments: Any) -> Any:
        nonlocal reports
        reports += 1
        if reports == 3:
            raise Stop
        return whole(*arguments)

    monkeypatch.setattr(module, "_write_report", killed)
    settings = Reproduction("hcma-unet", 3, split=SplitPlan(test_share=0.5))
    with pytest.raises(Stop):
        run(reproduce(find_cases(cohort), settings, tmp_path))
    assert len(trained) == 3
    assert len(json.loads((tmp_path / "hcma-unet-table-3" / "report.json").read_text())["cases"]) == 2 * 2
    answer = run(reproduce(find_cases(cohort), settings, tmp_path))
    assert len(trained) == 8 and trained[0] == "none/fold-0-seed-0: 2, ()" and trained[-1].endswith("('pos', 'boundary', 'neg')")
    assert len(answer["cases"]) == 8 * 2


def test_other_cases_are_refused(cohort: Path, tmp_path: Path, trained: list[str]) -> None:
    settings = Reproduction("hcma-unet", 3)
    run(reproduce(find_cases(cohort), settings, tmp_path))
    trained.clear()
    with pytest.raises(InputError, match=r"drawn for other cases \(patient_0\)"):
        run(reproduce(find_cases(cohort)[1:], settings, tmp_path))
    corrected = tmp_path / "corrected"
    shutil.copytree(cohort, corrected)
    shutil.copy(corrected / "patient_1" / "mask.nii.gz", corrected / "patient_2" / "mask.nii.gz")
    with pytest.raises(InputError, match=r"drawn for other cases \(patient_2\)"):
        run(reproduce(find_cases(corrected), settings, tmp_path))
    assert trained == []


def test_what_cannot_work_is_refused_before_any_training(cohort: Path, tmp_path: Path, trained: list[str]) -> None:
    with pytest.raises(ComputeError, match="nonsense"):
        run(reproduce(find_cases(cohort), Reproduction("hcma-unet", 3), tmp_path / "out", device="nonsense"))
    broken = tmp_path / "broken"
    shutil.copytree(cohort, broken)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), broken / "patient_3" / "mask.nii.gz")
    with pytest.raises(InputError, match="not on the grid of patient_3"):
        run(reproduce(find_cases(broken), Reproduction("hcma-unet", 3), tmp_path / "out"))
    assert trained == [] and not (tmp_path / "out").exists()


def test_wrong_words(cohort: Path, tmp_path: Path) -> None:
    start = ["reproduce", "hcma-unet", "--data", str(cohort), "--out", str(tmp_path / "out")]
    for wrong in (["--table", "0"], ["--table", "3", "--folds", "1"], ["--table", "3", "--test-share", "2"], []):
        assert CliRunner().invoke(app, [*start, *wrong]).exit_code == 2
    said = CliRunner().invoke(app, ["reproduce", "u-net", "--table", "3", "--data", str(cohort), "--out", str(tmp_path / "out"), "--json"])
    assert said.exit_code == 1 and "no tables of 'u-net'" in json.loads(said.stdout)["error"]
    assert not (tmp_path / "out").exists()
