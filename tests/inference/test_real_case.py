"""The starter weights, which have seen phantoms only, on a real examination."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.inference import explain, predict
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import run


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["native_crop", "fullfov_half"])
@pytest.mark.parametrize(("name", "least"), [("hcma-unet", 0.5), ("tsesnet", 0.35)])
def test_the_tumour_is_found_without_having_been_trained_on_a_patient(data: Path, folder: str, name: str, least: float) -> None:
    """Measured: HCMA-UNet 0.83 and 0.86; TSESNet 0.56 and 0.41, which marks all of the tumour and more."""
    case = read_case(data / "duke_153" / folder)
    reference = read_mask(data / "duke_153" / folder / "duke_153_tumour_semiauto.nii.gz", case)
    prediction = run(predict(case, load_model(name), device="cpu"))
    assert dice(prediction.refined, reference) >= least


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_tumour_is_alike_and_healthy_tissue_is_not(data: Path) -> None:
    """The centre comes from the prediction; the reference, which no one had shown the model, says where the tumour is.

    Measured: 0.83 on average in the reference, -0.98 outside.
    """
    folder = data / "duke_153" / "native_crop"
    case = read_case(folder)
    reference = read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case)
    model = load_model("hcma-unet")
    prediction = run(predict(case, model, device="cpu"))
    explanation = run(explain(case, model, prediction.refined, device="cpu"))
    shown = explanation.maps["frloss-similarity"]
    assert shown[reference == 1].mean() > 0.6
    assert shown[reference == 0].mean() < -0.8
    assert len(explanation.rows) >= 5
    assert {row.cause for row in explanation.rows} >= {"skin", "vessel-like"}
    assert all(0 < row.volume_ml < 1 and -1 <= row.similarity <= 1 and row.distance_mm >= 0 for row in explanation.rows)
    hardest = explanation.maps["frloss-hardest"] > 0
    assert shown[hardest].mean() > shown[explanation.maps["frloss-boundary"] == 1].mean()
