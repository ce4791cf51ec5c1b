"""The gate never adopts what is worse, and says why in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_breastseg.training.gate import Score, change_interval, judge

PARENT = Score(held_out=0.7, corrected=0.6, replay=[0.8, 0.7], cases={"case 3": 0.81}, false=100, tumour=1000)
BETTER = replace(PARENT, corrected=0.9)


@pytest.mark.parametrize(
    ("candidate", "base", "word"),
    [
        (replace(BETTER, finite=False), PARENT, "not finite"),
        (replace(BETTER, held_out=0.6), PARENT, "held-out corrections fell from 0.700 to 0.600"),
        (BETTER, replace(PARENT, held_out=0.9), "held-out corrections fell from 0.900 (base model) to 0.700"),
        (replace(BETTER, replay=[0.78, 0.69]), PARENT, "mean Dice on the replay set fell from 0.750 to 0.735"),
        (replace(BETTER, replay=[0.9, 0.64]), PARENT, "replay case 2 fell from 0.70 to 0.64"),
        (replace(BETTER, cases={"case 3": 0.72}), PARENT, "case 3 fell from 0.81 to 0.72"),
        (BETTER, replace(PARENT, cases={"case 3": 0.9}), "case 3 fell from 0.90 (base model) to 0.81"),
        (BETTER, replace(PARENT, replay=[0.84, 0.74]), "mean Dice on the replay set fell from 0.790 (base model) to 0.750"),
        (replace(BETTER, false=116), PARENT, "falsely found tumour grew from 100 to 116 voxels"),
        (replace(BETTER, flipped=26), PARENT, "26 voxels changed far from any correction"),
        (PARENT, PARENT, "met no better"),
    ],
)
def test_worse_candidates_are_refused(candidate: Score, base: Score, word: str) -> None:
    decision = judge(candidate, PARENT, base)
    assert not decision.adopted
    assert any(word in reason for reason in decision.reasons)


def test_what_each_rule_just_allows_is_adopted_with_its_figures() -> None:
    edge = replace(BETTER, replay=[0.8, 0.69], cases={"case 3": 0.77}, false=115, flipped=25)
    decision = judge(edge, PARENT, PARENT)
    assert decision.adopted
    assert decision.figures["candidate"]["replay_mean"] == pytest.approx(0.745)
    assert "mean Dice of 1 case(s) that are done: 0.810 to 0.770" in decision.reasons


def test_of_many_cases_that_are_done_one_in_ten_may_fall_and_no_replay_case() -> None:
    before = replace(PARENT, cases={f"case {i}": 0.6 for i in range(20)})
    two, three = ({f"case {i}": 0.5 if i < fallen else 0.7 for i in range(20)} for fallen in (2, 3))
    assert judge(replace(before, corrected=0.9, cases=two), before, before).adopted
    refused = judge(replace(before, corrected=0.9, cases=three), before, before)
    assert refused.reasons == tuple(f"case {i} fell from 0.60{which} to 0.50" for which in ("", " (base model)") for i in range(3))
    assert (
        judge(replace(before, corrected=0.9, cases=two, replay=[0.9, 0.64]), before, before).reasons[0]
        == "replay case 2 fell from 0.70 to 0.64"
    )


def test_small_losses_cannot_add_up() -> None:
    """Each version may be a little worse than the one before, but never more than that below the base model."""
    parent, adopted = PARENT, 0
    for number in range(1, 20):
        worse = replace(BETTER, corrected=0.6 + number / 50, replay=[r - 0.004 for r in parent.replay])
        if not judge(worse, parent, PARENT).adopted:
            break
        parent, adopted = worse, adopted + 1
    assert adopted == 2 and parent.replay_mean == pytest.approx(0.742)


def test_from_ten_cases_on_a_change_that_is_surely_for_the_worse_is_refused() -> None:
    before = replace(PARENT, replay=[], cases={f"case {i}": 0.8 for i in range(10)})
    after = replace(before, corrected=0.9, cases={name: 0.8 - 0.001 * (i + 1) for i, name in enumerate(before.cases)})
    interval = change_interval(after, before)
    assert interval is not None and -0.010 < interval[0] < -0.0055 < interval[1] < -0.001
    assert any("all cases together fell" in reason for reason in judge(after, before, before).reasons)
    few = replace(before, cases={f"case {i}": 0.8 for i in range(9)})
    assert change_interval(few, few) is None


def test_the_interval_is_that_of_resampled_cases() -> None:
    changes = np.array([-0.04, 0.02, 0.03, 0.0, 0.01, 0.05, -0.01, 0.02, 0.04, 0.03])
    before = replace(PARENT, replay=[0.5] * 10, cases={})
    interval = change_interval(replace(before, replay=list(0.5 + changes)), before)
    spread = changes.std() / np.sqrt(10)
    assert interval == pytest.approx((changes.mean() - 1.96 * spread, changes.mean() + 1.96 * spread), abs=0.004)


def test_without_a_replay_set_cases_that_were_kept_back_judge() -> None:
    cases = {"practised": 0.5, "one": 0.6, "two": 0.7, "three": 0.6, "four": 0.7}
    before = replace(PARENT, replay=[], cases=cases, unseen=frozenset({"one", "two", "three", "four"}))
    better = replace(before, corrected=0.9, cases=cases | {"practised": 0.9, "two": 0.72})
    assert "mean Dice of 4 cases kept back: 0.650 to 0.655" in judge(better, before, before).reasons
    worse = replace(before, corrected=0.9, cases=cases | {"practised": 0.9, "one": 0.57, "three": 0.57})
    assert judge(worse, before, before).reasons == (
        "mean Dice of the cases kept back fell from 0.650 to 0.635",
        "mean Dice of the cases kept back fell from 0.650 (base model) to 0.635",
    )
    shipped = replace(before, replay=PARENT.replay)
    assert judge(replace(worse, replay=PARENT.replay), shipped, shipped).adopted


def test_a_stray_voxel_in_a_case_without_tumour_outweighs_no_case_with_one() -> None:
    names = [f"case {i}" for i in range(11)]
    before = replace(PARENT, replay=[], unseen=frozenset(names[:10]), healthy=frozenset(names[10:]), cases=dict.fromkeys(names, 0.7))
    before = replace(before, cases={**before.cases, "case 10": 0.0})
    after = replace(before, corrected=0.9, cases={**dict.fromkeys(names, 0.655), "case 10": 1.0})
    decision = judge(after, before, before)
    assert decision.figures["change_ci95"] == pytest.approx((-0.045, -0.045))
    assert any("mean Dice of the cases kept back fell from 0.700 to 0.655" in reason for reason in decision.reasons)
    worse = replace(before, cases={**before.cases, "case 10": 1.0})
    many = replace(
        PARENT, cases={"tumour": 0.9} | {f"healthy {i}": 1.0 for i in range(9)}, healthy=frozenset(f"healthy {i}" for i in range(9))
    )
    assert not judge(replace(many, corrected=0.9, cases={**many.cases, "tumour": 0.0}), many, many).adopted, "they buy no loss of tumour"
    assert not judge(replace(worse, corrected=0.9, cases={**worse.cases, "case 10": 0.0, "case 0": 0.6}), worse, worse).adopted


def test_without_a_replay_set_and_cases_kept_back_nothing_is_adopted() -> None:
    few = replace(PARENT, replay=[], cases=dict.fromkeys("abc", 0.5), unseen=frozenset("abc"))
    (reason,) = judge(replace(few, corrected=0.9), few, few).reasons
    assert "no replay set" in reason and "3 can judge instead, where 4 are needed" in reason


def test_without_held_out_corrections_the_reasons_say_so() -> None:
    decision = judge(replace(BETTER, held_out=None), replace(PARENT, held_out=None), replace(PARENT, held_out=None))
    assert decision.adopted and any("too few" in reason for reason in decision.reasons)
