"""The command that trains from scratch, without its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_breastseg.cli.report import Report
from napari_breastseg.errors import InputError

if TYPE_CHECKING:
    from napari_breastseg.losses.frloss import FRLoss


class Terms(StrEnum):
    """The rows of Table III of HCMA-UNet: which terms of FRLoss are added to cross-entropy and Dice."""

    none = "none"
    pos = "pos"
    boundary = "boundary"
    neg = "neg"
    pos_boundary = "pos+boundary"
    pos_neg = "pos+neg"
    boundary_neg = "boundary+neg"
    all = "all"


FLAT_BATCH = 8
"""Images in a batch: their networks have batch norms."""


def frloss_of(terms: str, **settings: Any) -> FRLoss | None:
    """Return the loss of a row of Table III, one of the values of :class:`Terms`; None for the row without it."""
    from napari_breastseg.losses.frloss import TERMS, FRLoss

    if terms == "none":
        return None
    return FRLoss(terms=TERMS if terms == "all" else tuple(term for term in TERMS if term in terms.split("+")), **settings)


def train_model(
    speaker: Report, method: str, out: Path, data: Path | None, start: str | None, encoder: Path | None, resume: bool, device: str,
    settings: dict[str, Any], frloss: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Train a preset, or go on with the run in `out`; `settings` are those of TrainConfig, `frloss` those of :func:`frloss_of`.

    Settings that are None are as TrainConfig has them; of a preset for images they are its own patch and batches of :data:`FLAT_BATCH`.
    There are no phantoms where the preset has none.
    """
    from napari_breastseg.io.cohort import find_cases
    from napari_breastseg.methods import get_preset
    from napari_breastseg.methods.model import load_model
    from napari_breastseg.training.config import TrainConfig
    from napari_breastseg.training.from_scratch import train_from_scratch

    preset = get_preset(method)
    began = (out / "settings.json").is_file()
    if began and not resume:
        raise InputError(f"{out} holds a training run already. Add --resume to go on with it, or choose another folder.")
    if resume and not began:
        raise InputError(f"{out} holds no training run to resume. Leave --resume out to begin one.")
    usual = {"phantoms": 0} if preset.exemplar is None else {}
    usual |= {"batch": FLAT_BATCH, "patch": preset.patch[-1]} if preset.flat else {}
    settings = {key: usual.get(key, getattr(TrainConfig, key)) if value is None else value for key, value in settings.items()}
    parent = None if start is None else load_model(start)
    labelled = [] if data is None else find_cases(data)
    config = TrainConfig(**settings, frloss=frloss_of(**frloss))
    model = speaker.run(train_from_scratch(preset, config, out, labelled, parent, device, encoder))
    return {"preset": preset.name, "model": str(model), "cases": len(labelled), **settings, "frloss": frloss}
