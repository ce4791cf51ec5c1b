"""Sizes of tumours: volumes, areas, and longest diameters by hand and against all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from napari_breastseg.case import Case, Geometry
from napari_breastseg.measure import amount, longest_diameter, tumour_figures


def case_of(shape: tuple[int, int, int], spacing: tuple[float, float, float], unit: str = "mm") -> Case:
    z, y, x = shape
    geometry = Geometry(spacing, np.eye(4), (x, y, z), unit)  # type: ignore[arg-type]
    return Case("case", np.zeros((1, *shape), np.float32), geometry)


def test_a_box_has_its_volume_and_its_diagonal() -> None:
    mask = np.zeros((6, 20, 20), np.uint8)
    mask[1:4, 2:8, 3:11] = 1
    mask[5, 15, 15] = 1
    found = tumour_figures(mask, case_of(mask.shape, (2.0, 0.5, 0.75)))
    assert (found["tumour_voxels"], found["largest_voxels"], found["parts"]) == (145, 144, 2)
    assert found["tumour_ml"] == pytest.approx(145 * 0.75 / 1000, abs=1e-3)
    assert found["longest"] == pytest.approx(np.hypot(6 * 0.5, 8 * 0.75), abs=0.05)  # within a slice, edge to edge
    assert (found["tumour_mm2"], found["largest_mm2"], found["unit"]) == (None, None, "mm")


def test_an_image_has_an_area_if_its_scale_is_known() -> None:
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 2:8, 3:11] = 1
    known = tumour_figures(mask, case_of(mask.shape, (1.0, 0.1, 0.2)))
    assert (known["tumour_mm2"], known["tumour_ml"], known["unit"]) == (round(48 * 0.02, 1), None, "mm")
    unknown = tumour_figures(mask, case_of(mask.shape, (1.0, 1.0, 1.0), "pixel"))
    assert (unknown["tumour_mm2"], unknown["tumour_ml"], unknown["unit"]) == (None, None, "pixels")
    assert unknown["longest"] == 10.0  # 6 x 8


def test_nothing_has_no_size() -> None:
    found = tumour_figures(np.zeros((1, 8, 8), np.uint8), case_of((1, 8, 8), (1.0, 1.0, 1.0)))
    assert (found["tumour_voxels"], found["parts"], found["longest"]) == (0, 0, 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_longest_diameter_is_that_of_all_pairs_of_corners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.random((17, 23)) < 0.2
    places = np.argwhere(plane)
    corners = np.concatenate([places + [dy, dx] for dy in (0, 1) for dx in (0, 1)]) * [0.7, 1.3]
    assert longest_diameter(plane[None], (0.7, 1.3)) == pytest.approx(pdist(corners).max())


def test_a_single_voxel_is_as_long_as_its_diagonal() -> None:
    plane = np.zeros((1, 5, 5), bool)
    plane[0, 2, 2] = True
    assert longest_diameter(plane, (3.0, 4.0)) == pytest.approx(5.0)


def test_amounts_in_words() -> None:
    millimetres, pixels = Geometry((2.0, 0.5, 0.5), np.eye(4), (9, 9, 9)), Geometry((1.0, 1.0, 1.0), np.eye(4), (9, 9, 1), "pixel")
    fine = Geometry((1.0, 0.1, 0.1), np.eye(4), (9, 9, 1))
    assert amount(1000, millimetres, flat=False) == "0.50 mL"
    assert amount(1000, millimetres, flat=True) == "250.0 mm²"
    assert amount(1000, pixels, flat=True) == "1000 pixels"
    assert [amount(count, millimetres, flat=False) for count in (0, 1, 20)] == ["0.00 mL", "<0.01 mL", "0.01 mL"]
    assert [amount(count, fine, flat=True) for count in (0, 1, 10)] == ["0.0 mm²", "<0.1 mm²", "0.1 mm²"]
