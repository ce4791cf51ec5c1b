"""The recipes of the table of ablations: what a round leaves out of the settings that the product uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_breastseg.errors import InputError

_REGULARISED = {"l2sp": 0.0, "ema": 0.0, "gate": False, "restart": 0}
_REPLAYED = {"replay": 0.0, "distillation": 0.0, "earlier": False}


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Parameters
    ----------
    label : str
        For people.
    settings : mapping
        What differs from the default :class:`~napari_breastseg.training.config.LearnConfig`.
    learns : bool
        False for the model that stays as it is.
    refines : bool
        Whether the prediction of the case at hand, if it is a volume, is refined with the strokes on it after each of them.
    """

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    learns: bool = True
    refines: bool = False


RECIPES = {
    "frozen": Recipe("frozen", learns=False),
    "refine": Recipe("frozen, refined with the strokes on the case", learns=False, refines=True),
    "naive": Recipe("naive: corrections alone, every candidate adopted", {"trust": 0.0, **_REPLAYED, **_REGULARISED}),
    "trust": Recipe("+ trust region", {**_REPLAYED, **_REGULARISED}),
    "replay": Recipe("+ replay of exemplars and earlier cases", _REGULARISED),
    "learn": Recipe("+ L2-SP, EMA, gate, restarts"),
    "full": Recipe("+ refined with the strokes on the case: the product", refines=True),
    "norm-and-head": Recipe("learning, norms and head alone", {"trained": "norm-and-head"}),
    "from-base": Recipe("learning, from the base model each time", {"restart": 1}),
}


def recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises
    ------
    InputError
        If there is none of that name; the message lists them.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise InputError(f"There is no recipe {name!r}. Choose among {', '.join(RECIPES)}.") from None
