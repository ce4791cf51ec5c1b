"""The gate never adopts what is worse, and says why in words."""

from __future__ import annotations

import pytest

from napari_breastseg.training.gate import Score, judge

PARENT = Score(held_out=0.7, corrected=0.6, replay=[0.8, 0.7])


@pytest.mark.parametrize(
    ("candidate", "base", "word"),
    [
        (Score(0.6, 0.9, [0.8, 0.7]), PARENT, "held-out corrections fell from 0.700 to 0.600"),
        (Score(0.8, 0.9, [0.8, 0.69]), PARENT, "mean Dice on the replay set fell"),
        (Score(0.8, 0.9, [0.9, 0.64]), PARENT, "replay case 2 fell from 0.70 to 0.64"),
        (Score(0.8, 0.6, [0.8, 0.7]), PARENT, "met no better"),
        (Score(0.8, 0.9, [0.8, 0.7]), Score(None, 0.5, [0.9, 0.9]), "below the base model's"),
    ],
)
def test_worse_candidates_are_refused(candidate: Score, base: Score, word: str) -> None:
    decision = judge(candidate, PARENT, base)
    assert not decision.adopted
    assert any(word in reason for reason in decision.reasons)


def test_better_candidate_is_adopted_with_its_figures() -> None:
    decision = judge(Score(0.7, 0.9, [0.8, 0.71]), PARENT, PARENT)
    assert decision.adopted
    assert decision.figures["candidate"]["replay_mean"] == pytest.approx(0.755)


def test_without_held_out_corrections_the_reasons_say_so() -> None:
    decision = judge(Score(None, 0.9, [0.8, 0.7]), Score(None, 0.6, [0.8, 0.7]), PARENT)
    assert decision.adopted
    assert any("too few" in reason for reason in decision.reasons)
