"""The gate: no model is adopted that is worse on what the person corrected or on the replay set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST_DROP = 0.05
"""Largest fall in Dice of a single replay case."""


@dataclass(frozen=True)
class Score:
    """How one model does.

    Attributes
    ----------
    held_out : float or None
        Balanced accuracy on the held-out corrections; None if there are none yet.
    corrected : float
        Balanced accuracy on the corrections that were trained on.
    replay : sequence of float
        Dice of each replay case, in a fixed order.
    """

    held_out: float | None
    corrected: float
    replay: Sequence[float]

    @property
    def replay_mean(self) -> float:
        """Mean Dice of the replay cases."""
        return sum(self.replay) / len(self.replay)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {
            "held_out": self.held_out,
            "corrected": self.corrected,
            "replay": [round(r, 4) for r in self.replay],
            "replay_mean": self.replay_mean,
        }


@dataclass(frozen=True)
class Decision:
    """Whether a candidate is adopted, why, and the figures behind it."""

    adopted: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Any]


def judge(candidate: Score, parent: Score, base: Score) -> Decision:
    """Compare a candidate with its parent, and with the base model so that small losses cannot add up.

    It is adopted if the held-out corrections are no worse than under the parent, the mean replay Dice is below neither the parent's nor,
    by more than 0.01, the base model's, no replay case falls by more than 0.05, and the corrections themselves are better met.
    """
    against = []
    if candidate.held_out is not None and parent.held_out is not None and candidate.held_out < parent.held_out:
        against.append(f"held-out corrections fell from {parent.held_out:.3f} to {candidate.held_out:.3f}")
    if candidate.replay_mean < parent.replay_mean:
        against.append(f"mean Dice on the replay set fell from {parent.replay_mean:.3f} to {candidate.replay_mean:.3f}")
    if candidate.replay_mean < base.replay_mean - 0.01:
        against.append(f"mean Dice on the replay set is below the base model's {base.replay_mean:.3f}")
    for number, (new, old) in enumerate(zip(candidate.replay, parent.replay, strict=True), 1):
        if old - new > LARGEST_DROP:
            against.append(f"replay case {number} fell from {old:.2f} to {new:.2f}")
    if candidate.corrected <= parent.corrected:
        against.append(f"the corrections are met no better than before ({parent.corrected:.3f} to {candidate.corrected:.3f})")
    figures = {"candidate": candidate.as_dict(), "parent": parent.as_dict(), "base": base.as_dict()}
    if against:
        return Decision(False, tuple(against), figures)
    reasons = [
        f"corrections met: {parent.corrected:.3f} to {candidate.corrected:.3f}",
        f"mean Dice on the replay set: {parent.replay_mean:.3f} to {candidate.replay_mean:.3f}",
    ]
    if candidate.held_out is not None and parent.held_out is not None:
        reasons.append(f"held-out corrections: {parent.held_out:.3f} to {candidate.held_out:.3f}")
    else:
        reasons.append("no held-out corrections yet: too few were made")
    return Decision(True, tuple(reasons), figures)
