"""Refining one prediction with the strokes on its case: what may change, what must not, and that it helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from napari_breastseg.case import REFINED_WITH, UNDECIDED, Geometry, Prediction, box_around, overlay
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.inference import grids, predict
from napari_breastseg.methods.model import Model, load_model, starter_models
from napari_breastseg.phantom import Phantom, make_phantom
from napari_breastseg.preprocess.breast_region import BreastRegion
from napari_breastseg.progress import Progress, run
from napari_breastseg.training import refine as refining
from napari_breastseg.training.refine import GROWTH, merged, refine

GRID = (9, 40, 40)
SPACE = Geometry((3.0, 1.0, 1.0), np.eye(4), (40, 40, 9))
Mask = npt.NDArray[np.bool_]


def box(*ranges: tuple[int, int]) -> Mask:
    mask = np.zeros(GRID, bool)
    mask[tuple(slice(low, high) for low, high in ranges)] = True
    return mask


def strokes(painted: Mask, erased: Mask | None = None) -> npt.NDArray[np.uint8]:
    annotation = np.full(GRID, UNDECIDED, np.uint8)
    annotation[painted] = 1
    if erased is not None:
        annotation[erased] = 0
    return annotation


NOTHING = np.zeros(GRID, bool)
LINE = box((4, 5), (20, 21), (4, 6))


def touched(old: Mask, annotation: npt.NDArray[np.uint8]) -> Mask:
    return refining._touched(old | (annotation == 1), annotation != UNDECIDED)


def test_tumour_is_added_near_painted_tumour_where_it_hangs_together_with_it() -> None:
    new = box((4, 5), (20, 21), (4, 40)) | box((4, 5), (24, 26), (4, 6))
    mask, where = merged(NOTHING, new, touched(NOTHING, strokes(LINE)), strokes(LINE), SPACE)
    reach = int(GROWTH)
    assert (mask == box((4, 5), (20, 21), (4, 6 + reach))).all()  # not farther, nor the part beside it
    assert (where == mask).all()


def test_growth_is_measured_in_millimetres() -> None:
    new = box((0, 9), (20, 21), (4, 6))
    mask, _ = merged(NOTHING, new, touched(NOTHING, strokes(LINE)), strokes(LINE), replace(SPACE, spacing=(6.0, 1.0, 1.0)))
    assert (mask == box((2, 7), (20, 21), (4, 6))).all()


def test_an_erased_place_lets_go_of_its_part_of_the_mask_and_of_no_other() -> None:
    one, other = box((2, 4), (2, 10), (2, 30)), box((6, 8), (20, 30), (2, 30))
    annotation = strokes(NOTHING, box((3, 4), (5, 6), (5, 6)))
    mask, where = merged(one | other, NOTHING, touched(one | other, annotation), annotation, SPACE)
    assert (mask == other).all() and (where == one).all()
    mask, _ = merged(one | other, ~NOTHING, touched(one | other, annotation), annotation, SPACE)
    assert (mask == (one | other)).all(), "erasing adds nothing"


def test_what_no_stroke_touches_stays() -> None:
    old = box((6, 8), (20, 30), (20, 30))
    mask, _ = merged(old, NOTHING, touched(old, strokes(LINE)), strokes(LINE), SPACE)
    assert (mask == old).all()


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(starter_models()["hcma-unet/practical"])


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(21, (48, 64, 64), phases=2, lesions=1, diameter=25.0)


@pytest.fixture(scope="module")
def before(model: Model, phantom: Phantom) -> Prediction:
    return run(predict(phantom.case, model, device="cpu"))


@pytest.fixture(scope="module")
def stroke(phantom: Phantom) -> npt.NDArray[np.uint8]:
    """The middle of the tumour in its middle slice."""
    found = box_around(phantom.tumour > 0)
    assert found is not None
    middle = sum(found[0]) // 2
    annotation = np.full(phantom.tumour.shape, UNDECIDED, np.uint8)
    annotation[middle][ndimage.binary_erosion(phantom.tumour[middle], iterations=1)] = 1
    return annotation


@pytest.mark.slow
def test_a_stroke_says_more_than_what_it_paints_and_the_model_stays(
    model: Model, phantom: Phantom, before: Prediction, stroke: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    weights = {name: value.clone() for name, value in model.weights.items()}
    seen: list[Progress] = []
    refined = run(refine(phantom.case, model, before, stroke, device="cpu", cache=tmp_path), seen.append)
    assert dice(overlay(refined.refined, stroke), phantom.tumour) > dice(overlay(before.refined, stroke), phantom.tumour) + 0.1
    assert all(torch.equal(weights[name], value) for name, value in model.weights.items())
    assert refined.model == before.model == model.sha
    assert refined.details[REFINED_WITH] == {"voxels": int((stroke == 1).sum()), "steps": 20, "rate": 2e-3}
    changed = refined.probability != before.probability
    distance = ndimage.distance_transform_edt(stroke != 1, sampling=phantom.case.geometry.spacing)
    assert changed.any() and distance[changed].max() <= GROWTH
    assert ((refined.refined == 1) <= (np.asarray(refined.probability) > 0.5)).all()
    assert len(seen) > 20 and list(tmp_path.glob("*.encoded"))
    again = run(refine(phantom.case, model, before, stroke, device="cpu", cache=tmp_path))
    np.testing.assert_array_equal(again.probability, refined.probability)  # whether encoded just now or read back


@pytest.mark.slow
def test_without_memory_it_says_so(
    model: Model, phantom: Phantom, before: Prediction, stroke: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(refining, "fit", full)
    with pytest.raises(ComputeError, match="too little memory"):
        run(refine(phantom.case, model, before, stroke, device="cpu"))


def test_strokes_are_needed_where_the_model_looks(model: Model, phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = np.zeros(phantom.tumour.shape, np.uint8)
    before = Prediction(model.sha, empty.astype(np.float32), empty, empty)
    nothing = np.full(phantom.tumour.shape, UNDECIDED, np.uint8)
    with pytest.raises(InputError, match="no strokes on this case"):
        run(refine(phantom.case, model, before, nothing, device="cpu"))
    corner = nothing.copy()
    corner[0, 0, 0] = 1
    aside = BreastRegion([((30, 48), (40, 64), (40, 64))], np.ones(phantom.tumour.shape[1:], bool))
    monkeypatch.setattr(grids, "breast_region", lambda *_: aside)
    with pytest.raises(InputError, match="no strokes in the breasts"):
        run(refine(phantom.case, model, before, corner, device="cpu"))
