"""Which case next: the cases that wait, those first that a correction would probably teach the model most, each with its reasons.

Three things are looked at, at half resolution: how unsure the model is (entropy over flips), how far it and the model that it learned from
differ, and how unlike the case is to those that are corrected already or stand above it in the queue. They have no common unit, so each is
turned into a rank, the share of the waiting cases with as much of it or less, and the score is the mean of the ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_breastseg.case import UNDECIDED
from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.loop.aligned import superseded
from napari_breastseg.loop.glances import Glance, Glances, Vector
from napari_breastseg.methods import FIRST, usual_method
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.session import Session

T = TypeVar("T")

STANDS_OUT = 0.5
"""Rank from which a thing counts as a reason."""
FAINT = 2.5
"""Entropy, in nats per voxel of expected tumour, of a probability of 0.2: where it is larger, nothing in the case is likely."""


@dataclass(frozen=True)
class Suggestion:
    """A case that waits for the person.

    Attributes
    ----------
    case_id : str
    score : float
        From 0 to 1, the mean of the ranks; never larger than that of a case above it. 0 for a case that cannot be predicted.
    entropy : float or None
        In nats per voxel of expected tumour; None if the case cannot be predicted.
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


def queue(session: Session, model: str | Path | None = None, device: str = "auto") -> Job[list[Suggestion]]:
    """Order the cases that nobody has corrected or called done; cases that cannot be predicted come last and say why.

    What was seen of a case is kept in the user's cache folder: asking again takes no time. The session may be open for reading only.

    Parameters
    ----------
    session : Session
    model : str or Path, optional
        What predicts as long as the session has no current model: a starter model by name, or weights by path. If not given, the usual
        one for the first case.
    device : str
        "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    glances = Glances(session, model or _usual(session), device)
    doubled = superseded(session)
    cases = [case_id for case_id in session.cases if case_id not in doubled]
    done = [case_id for case_id in cases if _is_done(session, case_id)]
    waiting = [case_id for case_id in cases if case_id not in done]
    total = len(done) + len(waiting)
    seen, refused = yield from _each(waiting, glances.look, 0, total)
    known, _ = yield from _each(done if seen else [], glances.features, len(waiting), total)  # without a model's help some were corrected
    ids, looks = list(seen), list(seen.values())
    suggestions: list[Suggestion] = []
    for place in arrange(looks, list(known.values())):
        look = looks[place.index]
        reasons = in_words(look, place, len(known), len(suggestions))
        suggestions.append(Suggestion(ids[place.index], place.score, look.entropy, look.disagreement, place.distance, reasons))
    return suggestions + [
        Suggestion(case_id, 0.0, None, None, None, (f"it cannot be predicted: {why}",)) for case_id, why in refused.items()
    ]


def _usual(session: Session) -> str:
    for case_id in session.cases:
        try:
            return usual_method(session.case(case_id).modality)
        except SessionError:  # its images are linked, and the link may not be followed here
            continue
    return FIRST


@dataclass(frozen=True)
class Place:
    """A place in the queue.

    Attributes
    ----------
    index : int
        Of the case.
    score : float
    distance : float or None
        To the likest case that is known or stands above.
    ranks : tuple of float
        Of entropy, distance and, if there is one, disagreement.
    """

    index: int
    score: float
    distance: float | None
    ranks: tuple[float, ...]


def arrange(glances: Sequence[Glance], known: Sequence[Vector]) -> Iterator[Place]:
    """Order cases by the mean of their ranks; the next one is chosen when the features of those above it count as known (k-centre greedy).

    Parameters
    ----------
    glances : sequence of Glance
        Of the waiting cases; of equals the earlier comes first.
    known : sequence of ndarray, shape (feature,)
        Features of the cases that are corrected already.
    """
    if not glances:
        return
    points = np.stack([glance.features for glance in glances])
    distance = np.min([np.linalg.norm(points - one, axis=1) for one in known], axis=0) if known else np.full(len(points), np.inf)
    apart = np.array([glance.disagreement for glance in glances if glance.disagreement is not None])
    fixed = [ranks(np.array([glance.entropy for glance in glances])), *([ranks(apart)] if apart.size else [])]
    spread = distance
    left = list(range(len(glances)))
    while left:
        novelty = ranks(distance, spread)  # among the distances at the beginning, so that no case gains by what is chosen above it
        scores = np.mean([novelty, *fixed], axis=0)
        index = max(left, key=lambda one: scores[one])
        found = (fixed[0][index], novelty[index], *(rank[index] for rank in fixed[1:]))
        near = float(distance[index])
        yield Place(index, float(scores[index]), near if np.isfinite(near) else None, tuple(map(float, found)))
        left.remove(index)
        distance = np.minimum(distance, np.linalg.norm(points - points[index], axis=1))
        if np.isinf(spread[0]):  # nothing is corrected yet: the first one chosen is what there is to compare with
            spread = distance


def ranks(values: Vector, among: Vector | None = None) -> Vector:
    """Return for each value the share of all values, or of those in `among`, that are no larger; equal values share a rank."""
    ordered = np.sort(values if among is None else among)
    shares: Vector = np.searchsorted(ordered, values, side="right") / len(ordered)
    return shares


def in_words(glance: Glance, place: Place, corrected: int, above: int) -> tuple[str, ...]:
    """Say why a case stands where it does, with `corrected` cases compared with and so many `above` it in the queue."""
    unsure, new, *_ = place.ranks
    said = []
    if glance.entropy >= FAINT:
        said.append((unsure, "the model finds next to nothing in it"))
    elif glance.unsure:
        said.append((unsure, f"the model is unsure of {glance.unsure}"))
    if glance.disagreement:
        said.append((place.ranks[-1], f"the model and the one that it learned from disagree by {100 * glance.disagreement:.0f} %"))
    if place.distance:
        others = [f"the {corrected} cases corrected so far" if corrected > 1 else "the case corrected so far"] if corrected else []
        others += ["those above it"] if above else []
        said.append((new, f"unlike {' and '.join(others)}"))
    reasons = tuple(words for rank, words in sorted(said, key=lambda one: -one[0]) if rank > STANDS_OUT)
    return reasons or ("less stands out in it than in those above it" if above else "no other case stands out more",)


def _is_done(session: Session, case_id: str) -> bool:
    """Tell whether a person has said anything of a case, and not taken it back, or called it done."""
    try:
        said = session.seq(case_id) > 0 and bool((session.annotation(case_id) != UNDECIDED).any())
        return said or session.is_done(case_id)
    except SessionError:  # what was said is damaged, but something was
        return True


def _each(case_ids: Sequence[str], look: Callable[[str], Job[T]], first: int, total: int) -> Job[tuple[dict[str, T], dict[str, str]]]:
    """Look at cases, of which the progress says that they begin with the `first` of `total`; return what is seen, and why some is not."""
    seen: dict[str, T] = {}
    refused: dict[str, str] = {}
    for number, case_id in enumerate(case_ids, first):
        message = f"Looking at case {number + 1} of {total}"
        try:
            seen[case_id] = yield from retold(look(case_id), partial(_told, number, total, message))
        except (InputError, SessionError) as error:
            refused[case_id] = str(error)
    return seen, refused


def _told(number: int, total: int, message: str, _: Progress) -> Progress:
    """Put the steps within a case as that of the case: they are too small to count, but each is a chance to cancel."""
    return Progress(number, total, message)
