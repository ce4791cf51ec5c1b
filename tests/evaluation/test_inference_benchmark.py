"""The measurements of whole volumes: their figures follow from each other, and they measure what they say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_breastseg.cli.benchmark_tables import inference_tables
from napari_breastseg.errors import BreastSegError, ComputeError, InputError
from napari_breastseg.evaluation.benchmarks.alone import alone
from napari_breastseg.evaluation.benchmarks.inference import side_by_side, suite, windows
from napari_breastseg.evaluation.benchmarks.inference.exams import full_exams, keep, kept
from napari_breastseg.evaluation.benchmarks.inference.larger import predict_larger
from napari_breastseg.evaluation.benchmarks.inference.recall import _judged, measure_recall
from napari_breastseg.evaluation.benchmarks.inference.windows import compare_windows
from napari_breastseg.inference.engines import forced_engine
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.progress import run

SHAPE = (32, 64, 64)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("hcma-unet")


def test_full_examinations_show_both_breasts(tmp_path: Path) -> None:
    first, second = full_exams(2, SHAPE)
    for phantom in (first, second):
        assert phantom.case.geometry.spacing[2] * SHAPE[2] >= 300  # mm, both breasts
        assert phantom.tumour.any()
    assert first.seed != second.seed
    keep(first.case, tmp_path)
    again = kept(tmp_path)
    np.testing.assert_array_equal(again.images, first.case.images)
    assert again.geometry.spacing == first.case.geometry.spacing and again.geometry.original_shape == SHAPE[::-1]


def test_ways_with_the_same_network_agree_and_their_ratios_are_their_own(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "OVERLAP", 0.0)  # quicker, and enough for the figures to hold together
    small = replace(model, preset=replace(model.preset, window=(48, 96, 96)))  # MONAI would pad so thin an examination to 128 slices
    found = json.loads(json.dumps(run(compare_windows(small, 1, SHAPE))))
    (row,) = found["rows"]
    for engine in ("torch", "openvino"):
        ratio = row[engine]["monai_s"] / row[engine]["ours_s"]
        assert row[engine]["times_faster"] == found[engine]["median_times_faster"] == pytest.approx(ratio)
        assert 0 < row[engine]["coarse_share"] < 1
        assert row[engine]["ours_dice"] - row[engine]["monai_dice"] == pytest.approx(found[engine]["mean_dice_difference"])
    for who in ("ours_dice", "monai_dice"):
        assert row["torch"][who] == pytest.approx(row["openvino"][who], abs=0.01)
    assert found["times_faster_than_monai_in_torch"] == pytest.approx(row["torch"]["monai_s"] / row["openvino"]["ours_s"])
    assert row["torch"]["monai_dice_in_region"] >= row["torch"]["monai_dice"]  # what is left out held no tumour
    assert forced_engine() is None
    assert inference_tables({"windows": found})


def test_recall_counts_hits_and_false_parts(model: Model) -> None:
    tumour, mask = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    tumour[2:6, 2:6, 2:6] = True
    assert _judged(mask, tumour) == (False, 0)
    mask[2:4, 2:4, 2:4] = mask[8, 8, 8] = True
    assert _judged(mask, tumour) == (True, 1)
    mask[2:4, 2:4, 3:4] = False
    assert _judged(mask, tumour) == (False, 1)  # 4 of 64 voxels are no find
    found = run(measure_recall(model, 1, [30.0]))
    (row,) = found["rows"]
    assert row["cases"] == 1 and {row["coarse_recall"], row["refined_recall"]} <= {0.0, 1.0}
    assert inference_tables({"recall": found})


@pytest.mark.slow
def test_a_larger_examination_is_predicted_from_zarr() -> None:
    found = run(predict_larger("hcma-unet", (64, 128, 128), 3))
    assert found["shape"] == [3, 64, 128, 128] and found["gigabytes"] == pytest.approx(0.0126, abs=1e-4)
    assert 0 < found["measured_mib"] < found["peak_memory_mib"]
    assert inference_tables({"larger": found})


@pytest.mark.slow
def test_peers_are_measured_and_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "nnU-Net and its predictor, no mirroring"
    monkeypatch.setattr(side_by_side, "WAYS", {name: side_by_side.WAYS[name] for name in (side_by_side.OURS, absent)})
    found = run(side_by_side.compare_peers("hcma-unet", SHAPE))
    ours, nnunet = found["rows"]
    assert ours["times_ours"] == 1 and ours["peak_memory_mib"] > 100
    assert nnunet["seconds"] is not None or "nnU-Net is not installed" in nnunet["why"]
    assert inference_tables({"peers": found})


def _die() -> None:
    os._exit(9)


def _refuse() -> None:
    raise InputError("no")


@pytest.mark.parametrize(("function", "kind"), [(_die, ComputeError), (_refuse, InputError)])
def test_what_fails_alone_is_told_here(function: Any, kind: type[BreastSegError]) -> None:
    with pytest.raises(kind):
        alone("this", function)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(InputError, match="Choose from: windows, peers, larger, recall"):
        run(suite.benchmark_inference(1, ["speed"]))
