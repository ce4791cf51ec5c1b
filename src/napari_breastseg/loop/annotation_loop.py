"""Predict, learn from corrections, adopt what is better: the loop that a person and the simulated annotator go round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import REFINED_WITH, UNDECIDED, Case, Modality, Prediction
from napari_breastseg.compute import Where, here, in_child
from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.inference import predict, refine
from napari_breastseg.inference.grids import Region
from napari_breastseg.inference.refine import fingerprint
from napari_breastseg.loop.sides import Corrected, Sides
from napari_breastseg.loop.workplace import go_on_with, workplace
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Job
from napari_breastseg.session import Session
from napari_breastseg.session.disk.places import ENCODED
from napari_breastseg.session.rows import RoundRow
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.corrections import Correction

LEARNER = "napari_breastseg.training.from_corrections:learn"
FEWEST_VOXELS = 50
"""What must be corrected before learning starts."""
INSTEAD_OF = "instead_of"
"""The number of the prediction that was shown when one was refined; it is shown again when that is taken back."""


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a learning round.

    Parameters
    ----------
    number : int
        The round's number in the session.
    adopted : bool
        Whether the candidate is the current model now.
    reasons : tuple of str
        Why, for people.
    figures : mapping
        The gate's numbers.
    parent, model : str
        sha256 of the model that was in use, and of the candidate, adopted or not.
    seconds : float
    """

    number: int
    adopted: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Any]
    parent: str
    model: str
    seconds: float


class AnnotationLoop:
    """The loop on one session that is open for writing.

    Parameters
    ----------
    session : Session
    model : str or Path
        Starter model by name, or weights by path: what the session begins with if it has no current model yet.
    device : str
        "auto", "cpu", "cuda" or "mps".
    where : callable
        Where learning runs: in a child process, or what :mod:`napari_breastseg.compute` offers else.

    Raises
    ------
    ModelError
        If the session has no model yet and `model` cannot be loaded.
    """

    def __init__(self, session: Session, model: str | Path = "hcma-unet", device: str = "auto", where: Where = in_child) -> None:
        self.session = session
        self.device = device
        self._where = where
        self._sides = Sides(session)
        if session.current_model is None:
            self.use(model)

    def use(self, model: str | Path) -> str:
        """Make a starter model (by name) or other weights (by path) the session's current model and return its sha256."""
        chosen = load_model(model)
        sha = self.session.add_model(chosen.path, chosen.card)
        self.session.use_model(sha)
        return sha

    def use_method(self, method: str) -> None:
        """Make the latest version of a method that was in use in this session current, or else its starter weights.

        Nothing changes if the current model is of that method.

        Parameters
        ----------
        method : str
            "tsesnet", for instance.

        Raises
        ------
        ModelError
            If no weights come with the method.
        """
        of = {row.sha: str(row.card.get("preset", "")).split("/")[0] for row in self.session.models() if row.adopted}
        if of.get(self._current()) == method:
            return
        versions = [sha for sha, its in of.items() if its == method]
        if versions:
            self.session.use_model(versions[-1])
        else:
            self.use(method)

    def predict(self, case_id: str, region: Region = "breast", mirror: bool = False) -> Job[Prediction]:
        """Predict a case with the current model and store the prediction; a cancelled one is not stored.

        Yields previews as the payload of its progress, see :func:`napari_breastseg.inference.predict`, where `region` and `mirror` are
        explained, too.

        Raises
        ------
        InputError
            If the case is unknown or lacks what the model needs.
        ModelError
            If the model's file is damaged.
        ComputeError
            If the device is missing or memory does not suffice.
        SessionError
            If the prediction cannot be stored.
        """
        case = self.session.case(case_id)
        model = load_model(self.session.model_path(self._current()))
        prediction = yield from predict(case, model, device=self.device, region=region, mirror=mirror)
        self.session.add_prediction(case_id, prediction)
        return prediction

    def own_prediction(self, case_id: str) -> Prediction | None:
        """Return the latest prediction of a case that is a model's alone, not refined with strokes; None if there is none."""
        own = [row.id for row in self.session.predictions(case_id) if not row.refined]
        return self.session.prediction(case_id, own[-1]) if own else None

    def refine(self, case_id: str, annotation: npt.NDArray[np.uint8] | None = None) -> Job[Prediction]:
        """Let the prediction of a case follow the strokes on it, see :func:`napari_breastseg.inference.refine`, and store the result.

        Where all strokes were taken back, what was refined is, too. What was refined with these very strokes is not made again.

        Parameters
        ----------
        case_id : str
        annotation : ndarray, shape (z, y, x), uint8, optional
            The strokes; the session's if not given.

        Raises
        ------
        InputError
            If the case is a single image, was not predicted yet, or has no strokes.
        SessionError
            If the prediction cannot be stored.
        """
        before = self._predicted(case_id)
        strokes = self.session.annotation(case_id) if annotation is None else annotation
        latest = self.session.predictions(case_id)[-1]
        if latest.refined and not (strokes != UNDECIDED).any():
            self.session.add_prediction(case_id, before)
            return before
        if latest.refined and latest.details[REFINED_WITH].get("sha256") == fingerprint(strokes):
            return self.session.prediction(case_id) or before
        prediction = yield from refine(self.session.case(case_id), before, strokes)
        told = {**prediction.details[REFINED_WITH], INSTEAD_OF: latest.id}
        prediction = replace(prediction, details={**prediction.details, REFINED_WITH: told})
        self.session.add_prediction(case_id, prediction)
        return prediction

    def unrefine(self, case_id: str) -> Prediction:
        """Take the last refinement of a case back: show again what was shown before it, and return that; all predictions are kept.

        Raises
        ------
        InputError
            If the case was not predicted yet.
        """
        own, (*earlier, latest) = self._predicted(case_id), self.session.predictions(case_id)
        if not latest.refined:
            return own
        number = latest.details[REFINED_WITH].get(INSTEAD_OF)
        known = number in [row.id for row in earlier]
        before = (self.session.prediction(case_id, number) if known else None) or own
        self.session.add_prediction(case_id, before)
        return before

    def learn(self, config: LearnConfig | None = None) -> Job[RoundOutcome]:
        """Learn from all corrections of the session and adopt the candidate if the gate lets it pass.

        The candidate is kept in either case. If the job is cancelled or fails, the session stays as it was; the next call goes on where
        this one stood, unless something was corrected since.

        Raises
        ------
        InputError
            If too little is corrected.
        ComputeError
            If the learning process fails, or is killed for lack of memory.
        SessionError
            If the round cannot be stored.
        """
        corrected = self._sides.all()
        check_enough(corrected)
        parent, config = self._current(), config or LearnConfig(seed=len(self.session.rounds()))
        base, seqs = self._base(parent), {one.case_id: one.seq for one in corrected}
        names = unlike({one.case_id: self.session.name(one.case_id) for one in corrected})
        again = restarts(self.session.rounds(), config.restart)
        done = [one.case_id for one in corrected if one.done]
        settings = {"parent": parent, "base": base, "again": again, "seqs": seqs, "done": done, "config": asdict(config)}
        with self.session.learning(seqs), workplace(self.session, settings) as folder:
            corrections, unread = self._on_disk(corrected, names, folder, again)
            check_enough([one for one in corrected if names[one.case_id] not in unread])
            go_on_with(folder, (one.name for one in corrections))
            kwargs = {
                "model": self.session.model_path(parent),
                "base": self.session.model_path(base),
                "corrections": corrections,
                "config": config,
                "folder": folder,
                "device": self.device,
                "start": self.session.model_path(base if again else parent),
                "cache": self.session.path / ENCODED if self._where in (in_child, here) else None,
            }
            result = yield from self._where(LEARNER, kwargs, "learning")
            decision = result.decision
            learned = [one for one in corrected if names[one.case_id] not in (*unread, *result.left_out)]
            figures = {**decision.figures, "from_base": again, "split": _split(learned)}
            reasons = (*decision.reasons, *(f"{name} was left out: {why}" for name, why in unread.items()))
            candidate = self.session.add_model(result.weights, load_model(result.weights).card)
            seqs = {one.case_id: one.seq for one in learned}
            number = self.session.add_round(list(seqs), parent, candidate, decision.adopted, reasons, figures, seqs)
        return RoundOutcome(number, decision.adopted, reasons, figures, parent, candidate, result.seconds)

    def _predicted(self, case_id: str) -> Prediction:
        before = self.own_prediction(case_id)
        if before is None:
            raise InputError("This case has no prediction yet. Predict it first, correct a place, then refine.")
        return before

    def _current(self) -> str:
        sha = self.session.current_model
        if sha is None:
            raise SessionError("The session has no current model. Choose one under Versions.")
        return sha

    def _base(self, sha: str) -> str:
        """Return the model from which `sha` came by learning rounds alone; other training may have changed its encoder."""
        known = {row.sha: row for row in self.session.models()}
        while "learning" in known[sha].card and known[sha].parent in known:
            sha = str(known[sha].parent)
        return sha

    def _rounds_ago(self, one: Corrected) -> int:
        """Count the adopted rounds that have already learned from these very corrections."""
        return sum(row.adopted and row.seqs.get(one.case_id) == one.seq for row in self.session.rounds())

    def _on_disk(
        self, corrected: Sequence[Corrected], names: Mapping[str, str], folder: Path, again: bool
    ) -> tuple[list[Correction], dict[str, str]]:
        """Write the corrections into `folder`; also return why some cannot be read, such as images that are linked and gone."""
        found: list[Correction] = []
        unread: dict[str, str] = {}
        for one in corrected:
            try:
                found.append(self._written(one, names[one.case_id], folder, again))
            except (InputError, SessionError) as error:
                unread[names[one.case_id]] = str(error)
        if not found:
            raise InputError(next(iter(unread.values())))
        return found, unread

    def _written(self, one: Corrected, name: str, folder: Path, again: bool) -> Correction:
        case = self.session.case(one.case_id)
        images, learn, held_out = (folder / f"{one.case_id}-{what}.npy" for what in ("images", "learn", "held-out"))
        _write_images(case, images)
        np.save(learn, one.learn, allow_pickle=False)
        np.save(held_out, one.held_out, allow_pickle=False)
        return Correction(
            name=name,
            images=images,
            geometry=case.geometry,
            learn=learn,
            held_out=held_out,
            rounds_ago=0 if again else self._rounds_ago(one),
            done=one.done,
            kept_back=one.kept_back,
            times=case.times,
            modality=self._kind(one.case_id, case),
        )

    def _kind(self, case_id: str, case: Case) -> Modality:
        """Return what kind of examination a case is; of an image that does not tell, what the model took it for that predicted it last.

        Else the corrections of ultrasound images would be learned by a model for mammograms, and judge it.
        """
        own = [row.model for row in self.session.predictions(case_id) if not row.refined]
        preset = {row.sha: row.card.get("preset") for row in self.session.models()}.get(own[-1]) if own else None
        return get_preset(str(preset)).modality if case.modality == "image" and preset else case.modality


def restarts(rounds: Sequence[RoundRow], every: int) -> bool:
    """Tell whether the next round starts from the base model: after `every` - 1 adopted ones since the last that did.

    So the order of the rounds cannot add up to a drift. One that was refused counts as well; with `every` 0 none starts there.
    """
    if every == 0:
        return False
    adopted = 0
    for row in reversed(rounds):
        if row.figures.get("from_base"):
            break
        adopted += row.adopted
    return adopted >= every - 1


def unlike(names: Mapping[str, str]) -> dict[str, str]:
    """Return a name for each case id that no other has: its own, or the id where names are alike."""
    return {case_id: name if list(names.values()).count(name) == 1 else case_id for case_id, name in names.items()}


def _split(corrected: Sequence[Corrected]) -> dict[str, Any]:
    """Say what trained and what was kept back."""
    return {
        "kept_back": [one.case_id for one in corrected if one.kept_back],
        "trained_voxels": {one.case_id: one.voxels for one in corrected},
        "held_out_voxels": {one.case_id: int(np.count_nonzero(one.held_out != UNDECIDED)) for one in corrected},
    }


def check_enough(corrected: Sequence[Corrected]) -> None:
    """Refuse to learn from next to nothing.

    Raises
    ------
    InputError
        If fewer than :data:`FEWEST_VOXELS` voxels are corrected on the training side.
    """
    strokes, voxels = sum(one.strokes for one in corrected), sum(one.voxels for one in corrected)
    if voxels < FEWEST_VOXELS:
        raise InputError(
            f"There is too little to learn from: {strokes} stroke(s), {voxels} voxels (one stroke in five is kept back as a test). "
            "Paint missing tumour or erase what is none, in two slices or images or more, then learn again."
        )


def _write_images(case: Case, path: Path) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(case.phases, *case.shape))
    for index in range(case.phases):
        array[index] = case.phase(index)
    array.flush()
