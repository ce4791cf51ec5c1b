"""Which case next: the cases that wait, those first that a correction would probably teach the model most, each with its reasons.

Three things are looked at, at half resolution: how unsure the model is (entropy over flips), how far it and the model that it learned from
differ, and how unlike the case is to those that are corrected already or stand above it in the queue. They have no common unit, so each is
turned into a rank, the share of the waiting cases with as much of it or less, and the score is the mean of the ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_breastseg.progress import Job
from napari_breastseg.session import Session

STANDS_OUT = 0.5
"""Rank from which a thing counts as a reason."""


@dataclass(frozen=True)
class Suggestion:
    """A case that waits for the person.

    Attributes
    ----------
    case_id : str
    score : float
        From 0 to 1, the mean of the ranks; never larger than that of a case above it. 0 for a case that cannot be predicted.
    entropy : float or None
        Mean entropy in nats where there may be tumour; None if the case cannot be predicted.
    disagreement : float or None
        1 - Dice between the masks of the model and of the one that it learned from; None if there is no such model.
    distance : float or None
        Between the features of this case and those of the likest one that is corrected or stands above it; None if there is none.
    reasons : tuple of str
        Why it stands where it does, for people; what speaks for it most comes first.
    """

    case_id: str
    score: float
    entropy: float | None
    disagreement: float | None
    distance: float | None
    reasons: tuple[str, ...]


def queue(session: Session, model: str | Path = "hcma-unet", device: str = "auto") -> Job[list[Suggestion]]:
    """Order the cases that nobody has corrected or called done; cases that cannot be predicted come last and say why.

    What was seen of a case is kept in the user's cache folder, so that asking again takes no time. The session may be open for reading only.

    Parameters
    ----------
    session : Session
    model : str or Path
        What predicts as long as the session has no current model: a starter model by name, or weights by path.
    device : str
        "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    raise NotImplementedError
