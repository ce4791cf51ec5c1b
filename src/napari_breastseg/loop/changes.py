"""What a learning round changed: the voxels that one version of the model marks and the other does not, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import TUMOUR, Box, box_around, slices
from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.inference import predict
from napari_breastseg.measure import amount
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.session import Session
from napari_breastseg.training.corrections import decided_dice

Mask = npt.NDArray[np.uint8]
GAINED, LOST = 1, 2


@dataclass(frozen=True)
class ModelChange:
    """How the predictions of two versions of the model differ on a case.

    Parameters
    ----------
    case_id, name : str
    before, after : str
        sha256 of the two versions.
    box : Box or None
        The smallest box around what differs, None if nothing does.
    drawn : ndarray, shape of the box, uint8
        1 where only the later version sees tumour (gained), 2 where only the earlier one does (lost).
    gained, lost : str
        How much either is: mL, of an image mm² or pixels.
    dice_before, dice_after : float or None
        Dice of each version with the annotation, over the voxels that are annotated; None if none is.
    problem : str
        Why the case could not be compared; empty if it was.
    """

    case_id: str
    name: str
    before: str
    after: str
    box: Box | None
    drawn: Mask
    gained: str
    lost: str
    dice_before: float | None
    dice_after: float | None
    problem: str = ""

    def on_grid(self, shape: tuple[int, int, int]) -> Mask:
        """Return what differs on the grid of the case, 0 elsewhere."""
        whole = np.zeros(shape, np.uint8)
        if self.box is not None:
            whole[slices(self.box)] = self.drawn
        return whole


def changes(session: Session, case_id: str, before: str, after: str, device: str = "auto") -> Job[ModelChange]:
    """Compare what two versions of the model say of a case.

    What is not stored yet is predicted. It is stored for comparing only: the case's mask stays as it is.

    Parameters
    ----------
    session : Session
    case_id : str
    before, after : str
        sha256 of two models of the session.
    device : str

    Raises
    ------
    InputError
        If the case or a model is unknown, or the case lacks what the model needs.
    ModelError
        If a model's file is damaged.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    first = yield from _mask(session, case_id, before, device, "the version before")
    second = yield from _mask(session, case_id, after, device, "the new version")
    case, annotation = session.case(case_id), session.annotation(case_id)
    drawn = np.where(second > first, np.uint8(GAINED), np.where(first > second, np.uint8(LOST), np.uint8(0)))
    box = box_around(drawn != 0)
    part = drawn[slices(box)].copy() if box is not None else np.empty((0, 0, 0), np.uint8)
    gained, lost = (amount(int(np.count_nonzero(part == what)), case.geometry, case.flat) for what in (GAINED, LOST))
    dice_before, dice_after = (decided_dice([(mask == TUMOUR, annotation)]) for mask in (first, second))
    return ModelChange(case_id, case.name, before, after, box, part, gained, lost, dice_before, dice_after)


def all_changes(
    session: Session, before: str, after: str, device: str = "auto", case_ids: Sequence[str] | None = None
) -> Job[list[ModelChange]]:
    """Compare two versions of the model on every case of the session, or on `case_ids` in their order; see :func:`changes`.

    Progress counts the steps of the case at hand; after each case its payload is the :class:`ModelChange`. A case that cannot be read or
    predicted is no reason to leave the others out. What was predicted before a cancel is kept.
    """
    wanted = session.cases if case_ids is None else case_ids
    found: list[ModelChange] = []
    for number, case_id in enumerate(wanted, 1):
        which = f"Case {number} of {len(wanted)}"
        try:
            found.append((yield from retold(changes(session, case_id, before, after, device), partial(_told, which))))
        except (InputError, SessionError) as error:
            nothing = np.empty((0, 0, 0), np.uint8)
            found.append(ModelChange(case_id, case_id, before, after, None, nothing, "", "", None, None, str(error)))
        yield Progress(1, 1, f"{which}: compared", found[-1])
    return found


def _mask(session: Session, case_id: str, model: str, device: str, words: str) -> Job[Mask]:
    """Return what a model says of a case, predicted now if that is not stored."""
    stored = session.predicted_by(case_id, model)
    if stored is not None:
        return stored
    job = predict(session.case(case_id), load_model(session.model_path(model)), device=device)
    prediction = yield from retold(job, lambda step: Progress(step.step, step.total, f"predicting with {words}"))
    if not session.read_only:
        session.add_prediction(case_id, prediction, only_compared=True)
    return prediction.refined


def _told(which: str, step: Progress) -> Progress:
    return Progress(step.step, step.total, f"{which}: {step.message}")
