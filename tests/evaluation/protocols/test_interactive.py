from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols.interactive import interactive
from napari_breastseg.evaluation.protocols.recipes import RECIPES
from napari_breastseg.evaluation.protocols.trial import Cases
from napari_breastseg.progress import Job, Progress, run

Toys = Callable[[int], Cases]
pytestmark = pytest.mark.usefixtures("robot_loop")


def row_of(report: dict[str, Any], recipe: str) -> dict[str, Any]:
    return next(row for row in report["rows"] if row["recipe"] == recipe)


def test_six_steps_and_the_figures_of_the_challenge(toys: Toys, tmp_path: Path) -> None:
    report = run(interactive(toys(2), tmp_path, ["frozen", "full"], [0]))
    assert len(report["rows"]) == 4
    frozen, full = row_of(report, "frozen"), row_of(report, "full")
    for row in (frozen, full):
        assert len(row["dsc"]) == len(row["nsd"]) == 6 and row["dsc"] == sorted(row["dsc"])
        assert row["dsc_auc"] == pytest.approx(sum(row["dsc"][1:]) - (row["dsc"][1] + row["dsc"][5]) / 2, abs=1e-3)
        assert row["final_nsd"] == pytest.approx(row["nsd"][-1], abs=1e-4)
    assert frozen["dsc"][0] == full["dsc"][0] == pytest.approx(2 * 7 / (7 + 18), abs=1e-4)  # 7 of 18 columns are seen
    assert frozen["rounds"] == [] and [row["adopted"] for row in full["rounds"]] == [True, True]
    assert full["dsc"][2] == 1.0 > frozen["dsc"][5] > frozen["dsc"][0], "with two adopted rounds nothing is left to click"
    assert report["gains"]["full"]["dsc_auc"]["mean"] == pytest.approx(full["dsc_auc"] - frozen["dsc_auc"])


def test_refining_follows_every_click(toys: Toys, tmp_path: Path, robot_loop: Any) -> None:
    report = run(interactive(toys(1), tmp_path, ["frozen", "refine"], [0]))
    frozen, refined = row_of(report, "frozen"), row_of(report, "refine")
    found = [7, 9, 11, 13]  # columns of 18, two more with each click, and what the click itself paints
    assert all(dsc >= 2 * n / (n + 18) - 1e-4 for dsc, n in zip(refined["dsc"], found, strict=False))
    assert refined["dsc"][0] == frozen["dsc"][0] and refined["dsc_auc"] > frozen["dsc_auc"]
    assert refined["rounds"] == [] and not robot_loop.configs


def test_a_refinement_that_looks_worse_is_taken_back(toys: Toys, tmp_path: Path, robot_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(self: Any, case_id: str) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        before = self.session.prediction(case_id)
        self.session.add_prediction(case_id, replace(before, refined=np.zeros_like(before.refined)))
        return before

    monkeypatch.setattr(robot_loop, "refine", spoil)
    report = run(interactive(toys(1), tmp_path, ["frozen", "refine"], [0]))
    assert row_of(report, "refine")["dsc"] == row_of(report, "frozen")["dsc"]


def test_surface_dice_counts_from_a_dice_of_a_fifth(toys: Toys, tmp_path: Path, robot_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robot_loop, "SEEN", (6, 6, 6))
    row = run(interactive(toys(1), tmp_path, ["frozen"], [0]))["rows"][0]
    assert row["dsc"][0] == pytest.approx(2 / 19, abs=1e-4) and row["nsd"][0] == 0.0
    assert all(n > 0 for d, n in zip(row["dsc"], row["nsd"], strict=True) if d > 0.2)


def test_reports_say_whose_figures_they_are(toys: Toys, tmp_path: Path) -> None:
    report = run(interactive(toys(2), tmp_path, seeds=[0, 1]))
    text = (tmp_path / "p1.md").read_text()
    assert text == report["markdown"] and "other methods on other data" in text and "2.4799" in text and "mean over 4 case(s)" in text
    kept = json.loads((tmp_path / "p1.json").read_text())
    assert kept["recipes"] == report["recipes"] and kept["recipes"]["full"]["dsc_auc"]["ci95"]


def test_what_is_done_is_not_done_again_and_never_mixed(toys: Toys, tmp_path: Path, robot_loop: Any) -> None:
    first = run(interactive(toys(2), tmp_path, seeds=[0]))
    rounds = len(robot_loop.configs)
    again = run(interactive(toys(2), tmp_path, seeds=[0, 1]))
    assert again["rows"][:6] == first["rows"] and len(robot_loop.configs) == 2 * rounds
    with pytest.raises(InputError, match="begun with other settings"):
        run(interactive(toys(1), tmp_path))
    with pytest.raises(InputError, match="other settings"):
        run(interactive(toys(2), tmp_path, settings={"steps": 5}))


def test_figures_of_a_recipe_that_has_changed_are_not_mixed(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(interactive(toys(1), tmp_path, ["frozen", "full"], [0]))
    monkeypatch.setitem(RECIPES, "full", replace(RECIPES["full"], settings={"steps": 7}))
    run(interactive(toys(1), tmp_path, ["frozen"], [0]))
    with pytest.raises(InputError, match="other settings"):
        run(interactive(toys(1), tmp_path, ["frozen", "full"], [0]))


def test_recipes_are_known_before_anything_is_written(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe 'ful'"):
        run(interactive(toys(2), tmp_path / "out", ["frozen", "ful"]))
    assert not (tmp_path / "out").exists()


def test_every_seed_and_setting_reaches_the_learner(toys: Toys, tmp_path: Path, robot_loop: Any) -> None:
    run(interactive(toys(1), tmp_path, ["norm-and-head"], [3, 4], settings={"steps": 7}))
    assert {(c.seed, c.steps, c.trained) for c in robot_loop.configs if c} == {(3, 7, "norm-and-head"), (4, 7, "norm-and-head")}
