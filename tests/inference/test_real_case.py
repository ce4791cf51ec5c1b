"""The starter weights, which have seen phantoms only, on a real examination."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.inference import predict
from napari_breastseg.io import read_case, read_mask
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import run


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["native_crop", "fullfov_half"])
def test_the_tumour_is_found_without_having_been_trained_on_a_patient(data: Path, folder: str) -> None:
    case = read_case(data / "duke_153" / folder)
    reference = read_mask(data / "duke_153" / folder / "duke_153_tumour_semiauto.nii.gz", case)
    prediction = run(predict(case, load_model("hcma-unet"), device="cpu"))
    assert dice(prediction.refined, reference) >= 0.5
