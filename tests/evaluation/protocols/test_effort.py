from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import Geometry, slices
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.evaluation.protocols.effort import corrections, effort
from napari_breastseg.evaluation.protocols.trial import Cases
from napari_breastseg.progress import run

CUBES = Geometry((1.0, 1.0, 1.0), np.eye(4), (1, 1, 1))


Toys = Callable[[int], Cases]
Mask = npt.NDArray[np.uint8]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_good_case_costs_nothing(truth: Mask) -> None:
    almost = truth.copy()
    almost[3] = 0  # nine of ten slices: Dice 0.947
    assert list(corrections(truth, almost, CUBES, rng())) == []
    cube, core = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    cube[2:6, 2:6, 2:6] = 1
    core[3:5, 3:5, 3:5] = 1  # every wrong voxel lies within two pixels of the border, in each plane
    assert dice(core, cube) < 0.3 and list(corrections(cube, core, CUBES, rng())) == []


def test_a_part_that_is_missed_altogether_is_painted_however_small() -> None:
    speck = np.zeros((9, 9, 9), np.uint8)
    speck[4, 4, 4] = 1
    (done,) = corrections(speck, np.zeros_like(speck), CUBES, rng())
    assert len(done.strokes) == 1
    travel = math.ceil(math.dist((4.5, 4.5), (4, 4)) / 800 * 120) / 120
    assert done.person_seconds == pytest.approx(0.2 + 0.2 + travel + 1 / 120)  # looks, the way, one print of the brush


def test_the_robot_stops_when_the_case_is_good(truth: Mask) -> None:
    shown = np.zeros_like(truth, bool)
    for done in corrections(truth, shown, CUBES, rng()):
        assert dice(shown, truth) < 0.9
        for stroke in done.strokes:
            shown[slices(stroke.box)][stroke.mask] = bool(stroke.value)
    assert dice(shown, truth) >= 0.9


@pytest.mark.usefixtures("robot_loop")
def test_correcting_costs_less_than_painting_and_learning_saves_more(toys: Toys, tmp_path: Path) -> None:
    report = run(effort(toys(3), tmp_path, seeds=[0, 1]))
    frozen, learned = ([row for row in report["rows"] if row["recipe"] == name] for name in ("frozen", "learn"))
    assert all(0 < row["minutes"] < row["scratch_minutes"] for row in frozen)
    assert [row["scratch_minutes"] for row in frozen] == [row["scratch_minutes"] for row in learned], "the same hand on the same empty mask"
    first, second, third = learned[:3]
    assert first["minutes"] == frozen[0]["minutes"] > second["minutes"] > third["minutes"] == 0.0 == third["strokes"]
    assert first["dice"] < second["dice"] < third["dice"] and first["dice_corrected"] > first["dice"]
    assert "adopted" not in frozen[0] and [row["adopted"] for row in learned[:3]] == [True, True, False]
    saved = report["recipes"]["learn"]["saved"]
    expected = np.mean([row["scratch_minutes"] - row["minutes"] for row in learned])
    assert saved["mean"] == pytest.approx(expected) and saved["ci95"][0] <= expected <= saved["ci95"][1]
    assert report["gains"]["learn"]["mean"] == pytest.approx(
        np.mean([a["minutes"] - b["minutes"] for a, b in zip(frozen, learned, strict=True)])
    )
    assert "Minutes" in (tmp_path / "p3.md").read_text()


def test_recipes_that_refine_are_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Leave refine, full out"):
        run(effort(toys(1), tmp_path, ["frozen", "refine", "full"], [0]))


def test_finished_streams_stay(toys: Toys, tmp_path: Path, robot_loop: Any) -> None:
    first = run(effort(toys(2), tmp_path, ["learn"], [0]))
    rounds = len(robot_loop.configs)
    assert run(effort(toys(2), tmp_path, ["learn"], [0])) == first and len(robot_loop.configs) == rounds
