"""Where to look next: doubt that is wide comes before doubt that is thin, and what was said is left out."""

from __future__ import annotations

import numpy as np

from napari_breastseg.case import UNDECIDED
from napari_breastseg.loop.places import unsure_places

SHAPE, SPACING = (24, 48, 48), (2.0, 1.0, 1.0)


def distance(centre: tuple[int, int, int]) -> np.ndarray:
    return np.sqrt(sum(((i - c) * s) ** 2 for i, c, s in zip(np.indices(SHAPE), centre, SPACING, strict=True)))


def case() -> tuple[np.ndarray, np.ndarray]:
    """A sure tumour with a thin shell of doubt, a large doubtful ball and a small one."""
    probability = np.zeros(SHAPE, np.float32)
    shell = distance((12, 12, 12))
    probability[shell < 8] = 0.99
    probability[(shell >= 7.5) & (shell < 8)] = 0.5
    probability[distance((12, 34, 34)) < 7] = 0.5
    probability[distance((6, 12, 36)) < 4] = 0.4
    return probability, np.full(SHAPE, UNDECIDED, np.uint8)


def test_the_widest_doubt_comes_first_and_thin_shells_do_not_count() -> None:
    probability, annotation = case()
    places = unsure_places(probability, annotation, SPACING)
    assert [place.index for place in places] == [(12, 34, 34), (6, 12, 36)]
    assert [place.voxels for place in places] == [int((probability == 0.5)[:, 25:].sum()), int(np.isclose(probability, 0.4).sum())]
    assert np.allclose([place.width for place in places], [14, 8], atol=2)


def test_what_the_person_said_is_no_doubt() -> None:
    probability, annotation = case()
    annotation[:, 25:, 25:] = 0
    assert [place.index for place in unsure_places(probability, annotation, SPACING)] == [(6, 12, 36)]
    assert unsure_places(np.zeros(SHAPE, np.float32), annotation, SPACING) == []
    assert unsure_places(np.ones(SHAPE, np.float32), annotation, SPACING) == []


def test_the_places_of_an_image() -> None:
    """One slice has depth all the same; doubt at the border of the image ends there."""
    probability = np.zeros((1, 40, 40), np.float32)
    probability[0, :8, :8] = 0.5
    probability[0, 20:30, 20:30] = 0.5
    places = unsure_places(probability, np.full((1, 40, 40), UNDECIDED, np.uint8), (1.0, 1.0, 1.0))
    assert [place.voxels for place in places] == [100, 64]
    assert all(low <= i < high for i, (low, high) in zip(places[0].index, ((0, 1), (20, 30), (20, 30)), strict=True))
