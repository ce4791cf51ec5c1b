"""What a trial hands back: figures, and aims with whether they were met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Aim:
    """One thing that was promised, and what was measured.

    Parameters
    ----------
    what : str
        What was counted or timed, for people.
    measured : float
    bound : float
        The most that meets the aim, or the least with `at_least`.
    unit : str
    at_least : bool
    """

    what: str
    measured: float
    bound: float = 0
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether what was measured meets the bound."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def as_json(self) -> dict[str, Any]:
        """Return the aim with whether it was met, JSON-ready."""
        bound = "at_least" if self.at_least else "at_most"
        return {"what": self.what, "measured": self.measured, bound: self.bound, "unit": self.unit, "met": self.met}


@dataclass(frozen=True)
class Trial:
    """The outcome of one trial.

    Parameters
    ----------
    name : str
    aims : sequence of Aim
    figures : mapping
        What was measured besides, JSON-ready.
    problems : sequence of str
        Sentences about what went wrong, if anything did.
    skipped : str, optional
        Why the trial could not be made here.
    """

    name: str
    aims: tuple[Aim, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    skipped: str | None = None

    @property
    def met(self) -> bool:
        """Whether no aim was missed; a trial that was skipped has missed none."""
        return all(aim.met for aim in self.aims)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome, JSON-ready."""
        return {
            "name": self.name,
            "skipped": self.skipped,
            "met": None if self.skipped else self.met,
            "aims": [aim.as_json() for aim in self.aims],
            "figures": dict(self.figures),
            "problems": list(self.problems[:20]),
        }
