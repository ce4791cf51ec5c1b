"""Rows of hard negatives: measures against brute force, causes against the truth of phantoms."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from napari_breastseg.case import Case, Geometry
from napari_breastseg.inference.hard_negatives import LINK, HardNegative, list_hard_negatives, tubular
from napari_breastseg.phantom import TISSUES, Phantom, make_phantom
from napari_breastseg.preprocess.breast_region import breast_region
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.progress import run

UNILATERAL, BILATERAL = (21, 23), (20, 22)
"""Seeds."""


@cache
def phantom(seed: int) -> Phantom:
    return make_phantom(seed, (80, 128, 128), phases=2, lesions=1)


def listed(
    case: Case, tumour: npt.NDArray[np.bool_], hardest: npt.NDArray[np.bool_], similarity: npt.NDArray[np.float32]
) -> tuple[list[HardNegative], npt.NDArray[np.uint8]]:
    region = breast_region(Overview.of(case))
    return run(list_hard_negatives(case, tumour, hardest, similarity, region))


def pieces(made: Phantom, where: npt.NDArray[np.bool_], wanted: int = 8) -> npt.NDArray[np.bool_]:
    """Balls of 5 mm of tissue, further apart than what is linked."""
    spacing = np.array(made.case.geometry.spacing)
    rng = np.random.default_rng(made.seed)
    free = np.argwhere(where & (made.tumour == 0))
    hardest = np.zeros(where.shape, bool)
    for _ in range(wanted):
        if len(free) < 8:
            break
        apart = np.linalg.norm((free - free[rng.integers(len(free))]) * spacing, axis=1)
        hardest[tuple(free[apart <= 5].T)] = True
        free = free[apart > 10 + LINK]
    return hardest


def causes(made: Phantom, where: npt.NDArray[np.bool_]) -> list[str]:
    """Causes of components of 8 voxels or more of constructed hardest voxels."""
    rows, _ = listed(made.case, made.tumour == 1, pieces(made, where), np.zeros(made.case.shape, np.float32))
    fewest = 8 * made.case.geometry.voxel_ml
    return [row.cause for row in rows if row.volume_ml >= fewest]


def of(made: Phantom, *names: str) -> npt.NDArray[np.bool_]:
    return np.isin(made.tissue, [TISSUES.index(name) for name in names])


def share(found: list[str], cause: str) -> float:
    assert len(found) >= 10
    return found.count(cause) / len(found)


def test_skin_is_called_skin() -> None:
    assert share([c for seed in UNILATERAL + BILATERAL for c in causes(phantom(seed), of(phantom(seed), "skin"))], "skin") >= 0.9


def test_heart_and_liver_are_behind_the_chest_wall_of_two_breasts() -> None:
    assert share([c for seed in BILATERAL for c in causes(phantom(seed), of(phantom(seed), "heart", "liver"))], "heart") >= 0.9


def test_vessels_are_vessel_like_and_glands_are_not() -> None:
    vessels = [c for seed in UNILATERAL + BILATERAL for c in causes(phantom(seed), of(phantom(seed), "vessel"))]
    glands = [c for seed in UNILATERAL + BILATERAL for c in causes(phantom(seed), of(phantom(seed), "gland"))]
    assert share(vessels, "vessel-like") >= 0.7
    assert share(glands, "vessel-like") <= 0.2


def test_gland_of_the_other_breast_is_contralateral_or_a_vessel_and_that_of_the_same_never_contralateral() -> None:
    own, other = [], []
    for seed in BILATERAL:
        made = phantom(seed)
        middle = made.case.shape[2] / 2
        left = np.arange(made.case.shape[2]) < middle
        same = left == (np.argwhere(made.tumour)[:, 2].mean() < middle)
        own += causes(made, of(made, "gland") & same)
        other += causes(made, of(made, "gland") & ~same)
    assert share(other, "contralateral") >= 0.5 and "other" not in other
    assert share(own, "other") >= 0.5 and "contralateral" not in own


def test_the_largest_part_of_the_tumour_says_which_breast_is_the_other() -> None:
    made = phantom(22)
    tumour = made.tumour == 1
    mirrored = ndimage.binary_erosion(tumour)[:, :, ::-1] & of(made, "fat", "gland")
    assert 0 < mirrored.sum() < tumour.sum()
    rows, _ = listed(made.case, tumour | mirrored, pieces(made, of(made, "gland")), np.zeros(made.case.shape, np.float32))
    alone, _ = listed(made.case, tumour, pieces(made, of(made, "gland")), np.zeros(made.case.shape, np.float32))
    assert [row.cause for row in rows] == [row.cause for row in alone]


def shape_of(kind: str, spacing: tuple[float, float, float]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A bright tube, ball, sheet or short rod, soft by half a mm, in noise; and its voxels near the middle."""
    axes = [(np.arange(round(50 / s)) - round(25 / s)) * s for s in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    along, u, v = (z + y) / np.sqrt(2), (z - y) / np.sqrt(2), x
    outside = {
        "tube": np.hypot(u, v) - 1.5,
        "ball": np.sqrt(along**2 + u**2 + v**2) - 4.0,
        "sheet": np.abs(u) - 1.5,
        "rod": np.maximum(np.hypot(u, v) - 1.5, np.abs(along) - 4.0),
    }[kind]
    image = 1 / (1 + np.exp(outside / 0.5)) + np.random.default_rng(0).normal(0, 0.02, z.shape)
    return image.astype(np.float32), np.argwhere((outside < 0) & (z**2 + y**2 + x**2 < 25))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.1, 0.76, 0.76), (2.2, 1.5, 1.5)])
def test_only_a_long_tube_is_tubular(spacing: tuple[float, float, float]) -> None:
    found = {kind: tubular(*shape_of(kind, spacing), np.array(spacing)) for kind in ("tube", "ball", "sheet", "rod")}
    assert found == {"tube": True, "ball": False, "sheet": False, "rod": False}


def small_case(phases: int) -> tuple[Case, npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    images = rng.uniform(50, 300, (phases, 20, 24, 28)).astype(np.float32)
    case = Case("small", images, Geometry((2.0, 1.5, 1.0), np.diag([-1.0, -1.5, 2.0, 1.0]), (28, 24, 20)))
    tumour, hardest = np.zeros(case.shape, bool), np.zeros(case.shape, bool)
    tumour[8:11, 9:12, 9:13] = True
    tumour[9, 12, 9] = True
    hardest[8:10, 12, 10:14] = True  # touches the tumour, in the crease too
    hardest[15:19, 18:22, 20:24] = True
    hardest[2, 3, 25] = True
    return case, tumour, hardest, rng.uniform(-1, 1, case.shape).astype(np.float32)


def edge_gap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Smallest distance between the boxes of two sets of voxels, pair by pair."""
    steps = np.abs(np.argwhere(a)[:, None] - np.argwhere(b)[None])
    return float(np.linalg.norm(np.maximum(steps - 1, 0) * spacing, axis=2).min())


def test_every_measure_of_a_row_is_that_of_its_voxels() -> None:
    case, tumour, hardest, similarity = small_case(3)
    rows, numbers = listed(case, tumour, hardest, similarity)
    assert [row.number for row in rows] == [1, 2, 3]
    assert [row.volume_ml for row in rows] == sorted((row.volume_ml for row in rows), reverse=True)
    assert np.array_equal(numbers > 0, hardest)
    for row in rows:
        mine = numbers == row.number
        pre, post = case.phase(0)[mine].mean(), case.phase(1)[mine].mean()
        assert row.volume_ml == pytest.approx(mine.sum() * 0.003)
        assert row.similarity == pytest.approx(similarity[mine].mean(), abs=1e-6)
        assert row.enhancement == pytest.approx(post / pre - 1, rel=1e-5)
        assert row.distance_mm == pytest.approx(edge_gap(mine, tumour, case.geometry.spacing))
        assert mine[row.centre]
    assert rows[1].distance_mm == 0


def test_what_hugs_the_tumour_is_its_edge() -> None:
    """Half of the voxels decide: a shell of one voxel is edge, a strand that only begins there is not."""
    for seed in UNILATERAL:
        made = phantom(seed)
        tumour = made.tumour == 1
        near = ndimage.binary_dilation(tumour, np.ones((3, 3, 3))) & ~tumour
        z, y, x = np.argwhere(tumour)[np.argwhere(tumour)[:, 2].argmax()]
        strand = np.zeros_like(tumour)
        strand[z, y, x + 1 : x + 9] = True
        (shell,), (line,) = (listed(made.case, tumour, hardest, np.zeros(tumour.shape, np.float32))[0] for hardest in (near, strand))
        assert shell.distance_mm == line.distance_mm == 0
        assert shell.cause == "edge" and line.cause != "edge"


def test_voxels_that_lie_close_are_one_row() -> None:
    case, tumour, _, similarity = small_case(2)
    for gap, expected in ((LINK, 1), (LINK + 1, 2)):
        hardest = np.zeros(case.shape, bool)
        hardest[3, 3, 3] = hardest[3, 3, 3 + round(gap)] = True
        assert len(listed(case, tumour, hardest, similarity)[0]) == expected


def test_one_phase_has_no_enhancement_and_no_hardest_voxels_are_no_rows() -> None:
    case, tumour, hardest, similarity = small_case(1)
    rows, _ = listed(case, tumour, hardest, similarity)
    assert [row.enhancement for row in rows] == [None] * 3
    rows, numbers = listed(case, tumour, np.zeros_like(hardest), similarity)
    assert rows == [] and not numbers.any()


def test_a_row_is_ready_for_json() -> None:
    import json
    from dataclasses import asdict

    case, tumour, hardest, similarity = small_case(2)
    row = listed(case, tumour, hardest, similarity)[0][0]
    assert HardNegative(**{**json.loads(json.dumps(asdict(row))), "centre": row.centre}) == row
