"""The phantoms of the protocols: a stream of cases from another scanner, and two fixed sets on which nobody ever learns.

Their seeds are apart from those of the starter weights (1000 to 1144) and of the replay (9000 to 9120).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.phantom import OTHER_SCANNER, Scanner, make_phantom

STREAM, STREAM_STEP, SHIFTED, BASE = 100_000, 1_000, 30_000, 40_000
"""First phantom seed of the stream 0, from there to the next stream, of the shifted test set and of the base set."""
SHIFTED_CASES, BASE_CASES = 6, 8
SHIFTED_SHAPE, BASE_SHAPE = (48, 76, 76), (64, 96, 96)
"""One breast in 144 x 137 x 137 mm, or in the field of view of a drawn protocol: small, so that a round takes little time."""
DIAMETERS = (15.0, 45.0)
SLOW = 0.25
"""Uptake rate of the benign masses: an initial phase that BI-RADS calls slow, where that of tumours is medium to fast.

All that the model sees of kinetics is one phase before and one after contrast. Masses as fast as tumours could not be told from them by the
network even with full truth: trained as a whole for 300 steps on 60 such cases it went from Dice 0.49 to 0.52 on others. These can be told.
"""
MOST_IN_PLANE = 250.0
"""A drawn field of view above this many mm shows both breasts."""
SMALLEST_ML = 1.0
"""A tumour of which the breast left less is not asked for: in less than a hundred voxels a Dice of 0.85 is a matter of a few."""


@dataclass(frozen=True)
class Examination:
    """A case and the truth, shape (z, y, x), tumour where not 0."""

    case: Case
    truth: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Material:
    """What a stream runs on.

    Attributes
    ----------
    stream : callable
        ``stream(seed, cases)`` gives the examinations in order.
    sets : callable
        Gives the sets on which nobody learns: "base", as the base model knows them, and "shifted", like those of the stream.
    """

    stream: Callable[[int, int], Iterator[Examination]]
    sets: Callable[[], Mapping[str, Sequence[Examination]]]


def stream(seed: int, cases: int) -> Iterator[Examination]:
    """Make the first `cases` examinations of stream `seed`: another scanner, one tumour of 15 to 45 mm and two to four benign masses."""
    return islice(examinations(STREAM + STREAM_STEP * seed, SHIFTED_SHAPE, OTHER_SCANNER), cases)


@cache
def shifted_set() -> tuple[Examination, ...]:
    """Examinations like those of the streams that are in none of them."""
    return tuple(islice(examinations(SHIFTED, SHIFTED_SHAPE, OTHER_SCANNER), SHIFTED_CASES))


@cache
def base_set() -> tuple[Examination, ...]:
    """Examinations of one breast as the starter model learned from, one tumour of 15 to 45 mm each and no benign masses."""
    return tuple(islice(examinations(BASE, BASE_SHAPE, None), BASE_CASES))


def examinations(first: int, shape: tuple[int, int, int], scanner: Scanner | None) -> Iterator[Examination]:
    """Make examinations of one breast without end, from phantom seed `first` on; those of another scanner have benign masses as well."""
    for seed in count(first):
        rng = np.random.default_rng((seed, 1))
        diameter = float(np.exp(rng.uniform(*np.log(DIAMETERS))))
        benign = int(rng.integers(2, 5)) if scanner else 0
        phantom = make_phantom(seed, shape, 2, 1, diameter, benign, scanner, SLOW)
        geometry = phantom.case.geometry
        if phantom.tumour.sum() * geometry.voxel_ml >= SMALLEST_ML and geometry.spacing[1] * shape[1] <= MOST_IN_PLANE:
            yield Examination(phantom.case, phantom.tumour)
