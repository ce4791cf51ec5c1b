from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_breastseg.evaluation.protocols.figures import backward_transfer, corrections, forgetting, needed, paired_interval
from napari_breastseg.evaluation.protocols.recipes import RECIPES
from napari_breastseg.evaluation.protocols.stream_plots import draw_streams
from napari_breastseg.evaluation.protocols.stream_tables import corrections_table, forgetting_table, markdown, sloppy_table, trail_table
from napari_breastseg.training.config import LearnConfig


def record(trails: list[list[float]], rounds: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    cases = [{"case": str(i), "dice": trail, "taken_back": 0, "seconds": {"predict": 1.0}} for i, trail in enumerate(trails)]
    return {"base": {"base": [0.8, 0.6], "shifted": [0.4]}, "cases": cases, "rounds": rounds or []}


def a_round(after: int, base: float | None, learned: list[float], **more: Any) -> dict[str, Any]:
    adopted = base is not None
    sets = {"sets": {"base": [base], "shifted": [0.4 + 0.1 * after]}} if adopted else {}
    return {"number": after, "after": after, "adopted": adopted, "learned": learned, "seconds": {"learn": 2.0}, **sets, **more}


def test_savings_are_of_sums_and_pairs_stay_together() -> None:
    saved = paired_interval([1, 2, 3], [4, 8, 12], relative=True)
    # Each pair saves three quarters, so every resample of pairs does; unpaired ones would differ.
    assert saved == pytest.approx((75.0, 75.0, 75.0))
    assert paired_interval([1, 2], [0, 0], relative=True) is None
    assert paired_interval([0.5, 0.9], [0.4, 0.8], relative=False) == pytest.approx((0.1, 0.1, 0.1))


def test_the_interval_is_that_of_the_mean() -> None:
    """For a mean of many normal differences the bootstrap has the closed form, mean +- 1.96 s / sqrt(n)."""
    ours = np.random.default_rng(1).normal(0.3, 1.0, 400)
    figure, low, high = paired_interval(ours.tolist(), [0.0] * 400, relative=False) or (0, 0, 0)
    half = 1.96 * ours.std() / np.sqrt(400)
    assert (figure, low, high) == pytest.approx((ours.mean(), ours.mean() - half, ours.mean() + half), abs=0.01)


def test_corrections_of_two_recipes() -> None:
    frozen = record([[0.1, 0.5, 0.9], [0.2] * 21])
    ours = record([[0.86], [0.5, 0.82, 0.95]])
    assert needed(frozen, 0.85) == [2, 20] and needed(ours, 0.85) == [0, 2]
    figures = corrections([ours], [frozen])
    assert figures["corrections_to_0.85"]["mean"] == 1 and figures["corrections_to_0.85"]["not_reached"] == 0
    assert figures["corrections_to_0.85"]["saved_percent"][0] == pytest.approx(100 * (1 - 2 / 22))
    assert figures["dice_before"] == pytest.approx(0.68) and figures["dice_before_second_half"] == 0.5
    assert figures["dice_before_second_half_gain"] == pytest.approx((0.3, 0.3, 0.3)) and "dice_before_second_half_gain" not in corrections(
        [ours], []
    )
    assert figures["made_worse_percent"] == figures["taken_back_percent"] == 0 and figures["corrections_to_0.85"]["more_than_frozen"] == 0
    spoilt = record([[0.9, 0.7, 0.86], [0.5, 0.9]])
    spoilt["cases"][1]["taken_back"] = 1
    worse = corrections([spoilt], [frozen])
    assert worse["taken_back_percent"] == pytest.approx(100 / 3)
    assert worse["made_worse_percent"] == pytest.approx(100 / 3) and worse["corrections_to_0.85"]["mean"] == 1.5
    assert corrections([record([[0.1, 0.5, 0.6, 0.9], [0.9]])], [frozen])["corrections_to_0.85"]["more_than_frozen"] == 1
    assert figures["dice_after"] == pytest.approx([0.68, 0.84, *[0.905] * 4])  # a case that is done stays as it is


def test_backward_transfer_in_closed_form() -> None:
    rounds = [
        a_round(1, 0.7, [0.8]),
        a_round(2, 0.7, [0.6], earlier=[0.5, 0.6]),  # the first falls by 0.3
        a_round(3, 0.7, [0.9], earlier=[0.9, 0.5, 0.9]),  # +0.1 and -0.1; the last one was learned just now
    ]
    assert backward_transfer(rounds) == pytest.approx((0.0, 0.3))
    assert backward_transfer(rounds[:1]) == (None, None)
    assert backward_transfer([a_round(1, 0.7, [0.2]), a_round(2, 0.7, [0.3], earlier=[0.4, 0.3])]) == pytest.approx((0.2, 0.0))


def test_what_was_forgotten() -> None:
    rounds = [a_round(1, 0.68, [0.8]), a_round(2, None, [0.8]), a_round(3, 0.695, [0.9])]
    found = forgetting(record([[0.5]] * 3, [*rounds, {"after": 4, "adopted": False, "reasons": ["too little"], "learned": [0.1]}]))
    assert found["base_set_change"] == pytest.approx(-0.005) and found["shifted_set_change"] == pytest.approx(0.3)
    assert (found["adopted"], found["refused"]) == (2, 1)
    assert (found["adopted_below_base"], found["adopted_below_base_on_shifted"]) == (1, 0)  # 0.68 is below 0.70 - 0.01, 0.695 is not


def test_recipes_switch_off_what_they_say() -> None:
    default = LearnConfig()
    configs = {name: LearnConfig(**one.settings) for name, one in RECIPES.items() if one.learns}
    assert configs["full"] == default
    assert not configs["naive"].trust and not configs["naive"].replay and not configs["naive"].earlier and not configs["naive"].gate
    assert configs["trust"].trust == default.trust and not configs["trust"].replay
    assert configs["replay"].replay == default.replay and configs["replay"].earlier and not configs["replay"].gate
    assert configs["norm-and-head"].trained == "norm-and-head" and configs["from-base"].restart == 1


def test_tables_and_plots(tmp_path: Path) -> None:
    frozen = record([[0.1, 0.5, 0.9], [0.2] * 21], [{"after": n, "adopted": False, "reasons": [], "learned": [0.2]} for n in (1, 2)])
    ours = record([[0.86], [0.5, 0.82, 0.95]], [a_round(1, 0.69, [0.8]), a_round(2, None, [0.6], earlier=[0.7, 0.6])])
    groups = {"frozen": [frozen], "full": [ours]}
    text = markdown("Streams", [corrections_table(groups), trail_table(groups), forgetting_table(groups)], ["a note"])
    assert "91 % (" in text and "- a note" in text
    assert "-0.010 (-0.010)" in text and "-0.100 (-0.100)" in text
    assert {len(line.split("|")) for line in markdown("", [forgetting_table(groups)], []).splitlines() if line.startswith("|")} == {14}
    pairs = {"frozen": {"exact": [frozen], "sloppy": [frozen]}, "full": {"exact": [ours], "sloppy": [ours]}}
    sloppy = markdown("", [sloppy_table(pairs)], [])
    assert sloppy.count("sloppy") == 2 and sloppy.count("91 % (") == 2
    assert all(path.stat().st_size > 5000 for path in draw_streams(groups, tmp_path))
