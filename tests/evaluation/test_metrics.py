from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import counts, dice, iou, precision, recall, volumetric_similarity

ALL = [dice, iou, precision, recall, volumetric_similarity]


def test_figures_of_a_small_example() -> None:
    mask = np.array([[1, 1, 1, 0, 0]], np.uint8)
    reference = np.array([[0, 1, 1, 1, 1]], np.uint8)
    assert (counts(mask, reference).tp, counts(mask, reference).fp, counts(mask, reference).fn) == (2, 1, 2)
    assert dice(mask, reference) == pytest.approx(4 / 7)
    assert iou(mask, reference) == pytest.approx(2 / 5)
    assert precision(mask, reference) == pytest.approx(2 / 3)
    assert recall(mask, reference) == pytest.approx(2 / 4)
    assert volumetric_similarity(mask, reference) == pytest.approx(1 - 1 / 7)


@pytest.mark.parametrize("figure", ALL)
def test_empty_masks(figure: Callable[..., float]) -> None:
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert figure(empty, empty) == 1.0
    assert figure(full, full) == 1.0
    assert figure(empty, full) == 0.0
    assert figure(full, empty) == 0.0


def test_grids_must_be_the_same() -> None:
    with pytest.raises(InputError, match="same grid"):
        dice(np.zeros((2, 2)), np.zeros((2, 3)))
