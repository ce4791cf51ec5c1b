"""The gate: no model is adopted that is worse on what the person corrected, on the replay set, or on a case that is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST_DROP = 0.05
"""Largest fall in Dice of a single case."""
EXCEPTIONS = 0.1
"""Share of the cases that are done which may fall further: of sixty one always does, by chance, and nobody would ever learn again."""
MEAN_DROP = 0.01
"""Largest fall of the mean Dice on the replay set, or on cases kept back, below the model in use and below the base model: small losses
cannot add up."""
MORE_FALSE = 0.10
"""Largest growth of what is taken for tumour falsely."""
FLIPPED = 0.02
"""Largest share of the tumour's volume that may change far from all corrections."""
FEW = 5
"""Voxels that neither of the last two rules minds, nor a case without tumour: about the smallest part that a mask may have."""
UNSEEN = 4
"""Cases that are done and were never trained on, fewer of which cannot stand in for a replay set: all else was practised."""
ENOUGH = 10
"""Cases from which the change of the mean has an interval."""


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
        Dice of each replay case, in a fixed order; empty for a method without exemplars.
    cases : mapping of str to float
        Dice of each case that is done, where it is decided.
    unseen : frozenset of str
        Those of these cases that show tumour and were never trained on.
    healthy : frozenset of str
        Those that show no tumour: their Dice is 1 up to :data:`FEW` false voxels and 0 beyond, so no mean of Dice counts them.
    false : int
        Healthy voxels of these cases that are taken for tumour.
    flipped, tumour : int
        Voxels far from all corrections that differ from the model in use, and voxels of tumour in the windows that have such.
    finite : bool
    """

    held_out: float | None
    corrected: float
    replay: Sequence[float] = ()
    cases: Mapping[str, float] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    false: int = 0
    flipped: int = 0
    tumour: int = 0
    finite: bool = True

    @property
    def replay_mean(self) -> float | None:
        """Mean Dice of the replay cases."""
        return sum(self.replay) / len(self.replay) if self.replay else None

    @property
    def unseen_mean(self) -> float | None:
        """Mean Dice of the cases that are done and were never trained on."""
        return sum(self.cases[name] for name in self.unseen) / len(self.unseen) if self.unseen else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {
            "held_out": self.held_out,
            "corrected": self.corrected,
            "replay": [round(r, 4) for r in self.replay],
            "replay_mean": self.replay_mean,
            "cases": {name: round(value, 4) for name, value in self.cases.items()},
            "unseen": sorted(self.unseen),
            "healthy": sorted(self.healthy),
            "false_voxels": self.false,
            "flipped_voxels": self.flipped,
        }


@dataclass(frozen=True)
class Decision:
    """Whether a candidate is adopted, why, and the figures behind it."""

    adopted: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Any]


def judge(candidate: Score, parent: Score, base: Score) -> Decision:
    """Compare a candidate with the model in use, and with the base model.

    It is adopted if its weights are finite; the held-out corrections are met no worse than by either; the mean Dice on the replay set, or,
    where the method has none, on at least :data:`UNSEEN` cases that were kept back, is at most :data:`MEAN_DROP` below either's; no case of
    the replay set, and at most :data:`EXCEPTIONS` of the cases that the person has done, of those with and of those without tumour, falls
    by more than :data:`LARGEST_DROP` below either's; falsely found tumour grows by at most :data:`MORE_FALSE`; far from all corrections at
    most :data:`FLIPPED` of the tumour's volume changes; the change of all cases together is not surely for the worse (95 % bootstrap
    interval, from :data:`ENOUGH` cases on); and the corrections themselves are better met.
    """
    figures: dict[str, Any] = {"candidate": candidate.as_dict(), "parent": parent.as_dict(), "base": base.as_dict()}
    if not candidate.finite:
        return Decision(False, ("its weights are not finite numbers",), figures)
    against = [*_worse(candidate, parent, ""), *_worse(candidate, base, " (base model)")]
    if not candidate.replay and len(candidate.unseen) < UNSEEN:
        against.append(
            f"this method has no replay set, and of your cases {len(candidate.unseen)} can judge instead, where {UNSEEN} are needed: "
            "correct more cases and mark them as done; from the fifth corrected one on about one in five is kept back, "
            "and those with tumour judge"
        )
    if candidate.false > (1 + MORE_FALSE) * parent.false + FEW:
        against.append(f"falsely found tumour grew from {parent.false} to {candidate.false} voxels")
    if candidate.flipped > FLIPPED * candidate.tumour + FEW:
        against.append(f"{candidate.flipped} voxels changed far from any correction, more than {FLIPPED:.0%} of the tumour's volume")
    interval = change_interval(candidate, parent)
    figures["change_ci95"] = interval
    if interval is not None and interval[1] < 0:
        against.append(f"all cases together fell by {-interval[1]:.3f} to {-interval[0]:.3f} (95 % interval of the mean Dice)")
    if candidate.corrected <= parent.corrected:
        against.append(f"the corrections are met no better than before ({parent.corrected:.3f} to {candidate.corrected:.3f})")
    if against:
        return Decision(False, tuple(dict.fromkeys(against)), figures)
    return Decision(True, tuple(_gains(candidate, parent)), figures)


def _worse(candidate: Score, other: Score, which: str) -> list[str]:
    against = []
    if candidate.held_out is not None and other.held_out is not None and candidate.held_out < other.held_out:
        against.append(f"held-out corrections fell from {other.held_out:.3f}{which} to {candidate.held_out:.3f}")
    for where, new, old in (
        ("on the replay set", candidate.replay_mean, other.replay_mean),
        ("of the cases kept back", None if candidate.replay else candidate.unseen_mean, other.unseen_mean),
    ):
        if new is not None and old is not None and new < old - MEAN_DROP:
            against.append(f"mean Dice {where} fell from {old:.3f}{which} to {new:.3f}")
    now, then = _named(candidate), _named(other)
    fallen = [name for name in then if then[name] - now[name] > LARGEST_DROP]
    for alike in (other.cases.keys() - other.healthy, other.healthy):  # one without tumour buys no loss of one that shows some
        if len([name for name in fallen if name in alike]) <= EXCEPTIONS * len(alike):
            fallen = [name for name in fallen if name not in alike]
    return against + [f"{name} fell from {then[name]:.2f}{which} to {now[name]:.2f}" for name in fallen]


def _named(score: Score) -> dict[str, float]:
    return {f"replay case {number}": value for number, value in enumerate(score.replay, 1)} | dict(score.cases)


def change_interval(candidate: Score, parent: Score, draws: int = 2000) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the mean change in Dice over all cases that show tumour.

    None if they are fewer than :data:`ENOUGH`.
    """
    before, after = _named(parent), _named(candidate)
    changes = np.array([after[name] - before[name] for name in before if name not in parent.healthy])
    if len(changes) < ENOUGH:
        return None
    means = changes[np.random.default_rng(0).integers(len(changes), size=(draws, len(changes)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _gains(candidate: Score, parent: Score) -> list[str]:
    reasons = [f"corrections met: {parent.corrected:.3f} to {candidate.corrected:.3f}"]
    if candidate.replay_mean is not None and parent.replay_mean is not None:
        reasons.append(f"mean Dice on the replay set: {parent.replay_mean:.3f} to {candidate.replay_mean:.3f}")
    elif candidate.unseen_mean is not None and parent.unseen_mean is not None:
        reasons.append(f"mean Dice of {len(candidate.unseen)} cases kept back: {parent.unseen_mean:.3f} to {candidate.unseen_mean:.3f}")
    shown = candidate.cases.keys() - candidate.healthy
    if shown:
        before, after = (sum(score.cases[name] for name in shown) / len(shown) for score in (parent, candidate))
        reasons.append(f"mean Dice of {len(shown)} case(s) that are done: {before:.3f} to {after:.3f}")
    if candidate.held_out is not None and parent.held_out is not None:
        reasons.append(f"held-out corrections: {parent.held_out:.3f} to {candidate.held_out:.3f}")
    else:
        reasons.append("no held-out corrections yet: too few were made")
    return reasons
