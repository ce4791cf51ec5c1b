"""The Session: the folder on disk that holds cases, predictions, edits, models and their lineage, and never loses what it acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import SessionError
from napari_breastseg.progress import Job, run
from napari_breastseg.session import marks as marking
from napari_breastseg.session import views
from napari_breastseg.session.disk.durable import TEMPORARY, in_words, make_folder
from napari_breastseg.session.disk.lock import SessionLock
from napari_breastseg.session.disk.places import DATABASE, LOCK, check_places
from napari_breastseg.session.disk.write_ahead import keep_if_damaged
from napari_breastseg.session.export import write_mask_and_provenance, write_ome_zarr
from napari_breastseg.session.journal import Journal, now
from napari_breastseg.session.opening import LeftBehind, advice, bring_up_to_date, tidy
from napari_breastseg.session.parts import Parts
from napari_breastseg.session.provenance import provenance
from napari_breastseg.session.rows import (
    Change,
    Comparison,
    Edit,
    EditRow,
    EventRow,
    MarkKind,
    MarkRow,
    ModelRow,
    Moment,
    PredictionRow,
    RoundRow,
    Version,
)
from napari_breastseg.session.split import split
from napari_breastseg.session.upkeep.compact import compact
from napari_breastseg.session.upkeep.repair import Repair
from napari_breastseg.session.upkeep.verify import Verifier

_log = logging.getLogger(__name__)


class Session:
    """One folder of work, open. Use :meth:`create` or :meth:`open`, as a context manager or with :meth:`close`.

    What a method has returned is durable: no kill, crash, full disk or power cut loses it. All methods may be called from several threads.
    Every method raises a :class:`SessionError` (one sentence and what to do) if the disk refuses, and then leaves the earlier state as it
    was; after :meth:`close`; and, if it writes, when the session was opened for reading only. An unknown case, model or version raises an
    :class:`InputError`.

    Attributes
    ----------
    path : Path
        The session's folder.
    read_only : bool
        Whether nothing can be written.
    recovered : tuple of str
        Sentences that tell the person what was recovered when the session was opened after a crash; empty if nothing was to be.
    """

    recovered: tuple[str, ...] = ()

    def __init__(self, path: Path, lock: SessionLock | None) -> None:
        self.path = path
        self.read_only = lock is None
        self._lock = lock
        self._parts: Parts | None = Parts.open(path, read_only=self.read_only)

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """Make an empty session in a new or empty folder and open it for writing.

        Raises
        ------
        SessionError
            If there is a session already, or the folder holds other files, or it cannot be made.
        """
        root = Path(path).absolute()
        if (root / DATABASE).exists():
            raise SessionError(f"{root} already holds a session. Open it, or choose another folder.")
        with in_words(f"The session {root}", "created"):
            make_folder(root)
            if any(entry.name != LOCK and not entry.name.startswith(TEMPORARY) for entry in root.iterdir()):
                raise SessionError(f"{root} is not empty and no session. Choose an empty or a new folder.")
            lock = SessionLock(root)
            try:
                Journal.create(root)
                session = cls(root, lock)
                tidy(session._open, LeftBehind(None, None), None)
                return session
            except BaseException:
                lock.release()
                raise

    @classmethod
    def open(cls, path: str | Path, read_only: bool = False) -> Self:
        """Open a session; one process writes, any number may read at the same time.

        Raises
        ------
        SessionLockedError
            If it is open for writing elsewhere (the message names the process) and `read_only` is False.
        SessionError
            If there is none, or it is damaged, foreign or of a newer version.
        """
        root = Path(path).absolute()
        if not (root / DATABASE).is_file():
            raise SessionError(f"{root} holds no session. Create one by predicting a case into it, or choose another folder.")
        check_places(root)
        if read_only:
            return cls(root, None)
        with in_words(f"The session {root}", "opened"):
            lock = SessionLock(root)
            try:
                left = LeftBehind(lock.left_behind, keep_if_damaged(root))
                migrated_from = bring_up_to_date(root)
                session = cls(root, lock)
                session.recovered = tidy(session._open, left, migrated_from)
                for sentence in (*session.recovered, *advice(root)):
                    _log.warning("%s", sentence)
            except BaseException:
                lock.release()
                raise
        return session

    def close(self) -> None:
        """Wait for snapshots that are being written, close the files and let others write. A second call does nothing."""
        parts, self._parts = self._parts, None
        if parts is None:
            return
        try:
            parts.annotations.snapshots.close()
            parts.journal.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def advice(self) -> tuple[str, ...]:
        """What speaks against the place of the session."""
        return advice(self.path)

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise SessionError(f"The session {self.path} has been closed. Open it again.")
        return self._parts

    # Cases

    def add_case(self, case: Case, link: str | Path | None = None) -> str:
        """Copy a case into the session, or link it, and return its id; a case with the same content keeps the id that it has.

        Copied images are read and written one phase at a time, so they may be lazy and larger than the memory. If the files of a case
        that is known have been damaged, they are written anew.

        Parameters
        ----------
        case : Case
        link : path, optional
            The file or folder that :func:`napari_breastseg.io.read_case` read `case` from. Its images then stay there: the session keeps
            the path and a hash of the voxels, which are checked when they are read.
        """
        return self._open.cases.add(case, None if link is None else Path(link))

    @property
    def links_trusted(self) -> bool:
        """Whether images outside of the session are read: where there are none, where this account linked them, or after consent."""
        return self._open.cases.links_trusted()

    def trust_links(self) -> None:
        """Consent to reading the images that this session links to; remembered for this account, outside of the session."""
        self._open.cases.trust_links()

    @property
    def cases(self) -> list[str]:
        """The ids of the cases in the order in which they came in."""
        return self._open.cases.ids()

    def case(self, case_id: str) -> Case:
        """Return a case whose images are read from the disk when they are sliced; a damaged part raises a SessionError then."""
        return self._open.cases.get(case_id)

    def name(self, case_id: str) -> str:
        """Return what a case is called, without touching its images."""
        return str(self._open.cases.row(case_id)["name"])

    # The annotation

    def metadata(self, case_id: str) -> dict[str, Any]:
        """Return what is known of a case besides its images, which are not touched."""
        return self._open.cases.metadata(case_id)

    def record(self, case_id: str, edit: Edit) -> int:
        """Store an edit and return its seq; when this returns the edit is durable.

        Raises
        ------
        StaleEditError
            If ``edit.base`` is not the seq at which the annotation stands.
        InputError
            If the box, mask or values do not fit the case.
        """
        return self._open.annotations.record(case_id, edit)

    def seq(self, case_id: str) -> int:
        """Return the number of the case's last edit: 1, 2, ...; 0 before the first."""
        return self._open.annotations.seq(case_id)

    def annotation(self, case_id: str, at: int | None = None) -> npt.NDArray[np.uint8]:
        """Return the annotation (z, y, x) as it stands, or as it stood at the seq `at`: 0 background, 1 tumour, 255 undecided."""
        return self._open.annotations.at(case_id, at)

    def undo(self, case_id: str) -> Change | None:
        """Take the last edit back by a new edit that restores the old values; None if there is nothing to undo."""
        return self._open.annotations.undo(case_id)

    def redo(self, case_id: str) -> Change | None:
        """Take the last undo back by a new edit; None if there is nothing to redo, as after a new edit of another kind."""
        return self._open.annotations.redo(case_id)

    def checkout(self, case_id: str, at: int) -> Change | None:
        """Make the annotation as it stood at the seq `at` the present one, by a new edit that undo takes back; None if nothing differs."""
        return self._open.annotations.checkout(case_id, at)

    def edits(self, case_id: str) -> list[EditRow]:
        """Return all edits of a case, undos and redos among them, oldest first."""
        return self._open.annotations.edits(case_id)

    def snapshot(self, case_id: str) -> int:
        """Store the whole annotation now, so that later reading replays less, and return its seq; happens by itself from time to time."""
        return self._open.annotations.snapshot(case_id)

    def mark(self, case_id: str, what: MarkKind, value: Any) -> int:
        """Store that a slice was reviewed or the case is done (or no longer is), with any JSON value, and return the mark's number."""
        parts = self._open
        return marking.add_mark(parts.journal, case_id, what, value, parts.annotations.seq(case_id))

    def marks(self, case_id: str) -> list[MarkRow]:
        """Return the marks of a case, oldest first; the last of a kind counts."""
        parts = self._open
        parts.cases.row(case_id)
        return marking.marks(parts.journal, case_id)

    def is_done(self, case_id: str, at: int | None = None) -> bool:
        """Tell whether the person says that a case is done, or said so when its annotation stood at the seq `at`.

        Going back behind that, by an undo or to an earlier version, opens the case again.
        """
        return self._open.timeline.is_done(case_id, self.seq(case_id) if at is None else at)

    def split(self, case_id: str, component_key: str) -> Literal["train", "held-out"]:
        """Return whether a corrected component trains or is held out; fixed by hash for ever, see :func:`split.split`."""
        self._open.cases.row(case_id)
        return split(case_id, component_key)

    # Predictions

    def add_prediction(self, case_id: str, prediction: Prediction, only_compared: bool = False) -> int:
        """Store a prediction on the case's grid and return its number; it is there whole or not at all.

        One that is `only_compared` never becomes the case's mask nor part of its history; :meth:`predicted_by` alone finds it.
        """
        return self._open.predictions.add(case_id, prediction, only_compared)

    def predicted_by(self, case_id: str, model: str) -> npt.NDArray[np.uint8] | None:
        """Return the latest refined mask that the model with this sha256 gave of a case without strokes, None if there is none."""
        return self._open.predictions.by(case_id, model)

    def predictions(self, case_id: str) -> list[PredictionRow]:
        """Return the predictions of a case without their arrays, oldest first."""
        return self._open.predictions.rows(case_id)

    def prediction(self, case_id: str, id: int | None = None, *, in_memory: bool = True) -> Prediction | None:
        """Return the prediction with this number, or the latest, or None if there is none yet; its maps are read when they are asked for.

        With `in_memory` False so are its probability and its coarse mask, when they are sliced.
        """
        return self._open.predictions.get(case_id, id, in_memory)

    # Time travel

    def now(self, case_id: str) -> Version:
        """Return the version of a case that stands now: the latest prediction with the annotation laid over it."""
        return self._open.timeline.now(case_id)

    def mask(self, case_id: str, version: Version | None = None) -> npt.NDArray[np.uint8]:
        """Return the mask (z, y, x) of a version, the present one by default: 0 background, also where neither says anything, 1 tumour."""
        timeline = self._open.timeline
        return timeline.mask(case_id, version or timeline.now(case_id))

    def timeline(self, case_id: str) -> list[Moment]:
        """Return what happened to a case, oldest first; strokes that follow each other are one entry."""
        return self._open.timeline.moments(case_id)

    def compare(self, case_id: str, first: Version, second: Version) -> Comparison:
        """Return which voxels differ between two versions, and when and by which tool or model they became what they are in `second`."""
        return self._open.timeline.compare(case_id, first, second)

    def keep_view(self, case_id: str, view: Mapping[str, Any]) -> None:
        """Store how a case is looked at (slice, layers, tools: any JSON value of up to 64 kB) in the place of what was stored before."""
        views.keep(self._open.journal, case_id, view)

    def view(self, case_id: str) -> dict[str, Any]:
        """Return what :meth:`keep_view` stored last; empty if that is nothing, or cannot be read, as nothing depends on it."""
        return views.view(self._open.journal, case_id)

    @property
    def last_case(self) -> str | None:
        """The case that was looked at last, None if none was."""
        return views.last_case(self._open.journal, self.cases)

    # Models

    def add_model(self, weights: str | Path, card: Mapping[str, Any]) -> str:
        """Copy safetensors weights and their card into the session and return the sha256 that names them.

        Raises
        ------
        ModelError
            If the file is missing or no safetensors file; pickles are never loaded.
        """
        return self._open.models.add(Path(weights), card)

    def models(self) -> list[ModelRow]:
        """Return all models, oldest first."""
        return self._open.models.rows()

    def model_path(self, sha: str) -> Path:
        """Return the file of a model after checking its hash; its card lies beside it as ``<sha>.json``.

        Raises
        ------
        ModelError
            If the file is missing or damaged.
        """
        return self._open.models.path(sha)

    @property
    def current_model(self) -> str | None:
        """The sha256 of the current model, or None if none was ever chosen."""
        return self._open.models.current

    def use_model(self, sha: str) -> None:
        """Make any model of the session the current one."""
        self._open.models.use(sha)

    def add_round(
        self,
        case_ids: Sequence[str],
        parent: str | None,
        candidate: str | None,
        adopted: bool,
        reasons: Sequence[str],
        figures: Mapping[str, Any],
        seqs: Mapping[str, int],
    ) -> int:
        """Store a learning round and return its number; if it was adopted its candidate becomes current in the same transaction.

        Parameters
        ----------
        case_ids : sequence of str
            The cases that it learned from.
        parent, candidate : str or None
            sha256 of the model that it started from and of the one that it made.
        adopted : bool
            The gate's decision; the candidate must then be a model of the session.
        reasons : sequence of str
            Why, for people.
        figures : mapping
            The gate's numbers, JSON-ready.
        seqs : mapping of str to int
            The seq of each case's annotation that it learned from.
        """
        return self._open.models.add_round(case_ids, parent, candidate, adopted, reasons, figures, seqs)

    def overrule(self, number: int, note: str = "") -> None:
        """Make the candidate that the gate refused in round `number` current, which is the person's right, and record it as an event.

        Raises
        ------
        InputError
            If there is no such round, or it was adopted.
        """
        self._open.models.overrule(number, note)

    @contextmanager
    def learning(self, seqs: Mapping[str, int]) -> Iterator[None]:
        """Note while the block runs that a learning round is under way, so that the next opener is told if a crash ends it."""
        models = self._open.models
        models.set_learning({"time": now(), "seqs": dict(seqs)})
        try:
            yield
        finally:
            if models.learning is not None:
                models.set_learning(None)

    def rounds(self) -> list[RoundRow]:
        """Return all learning rounds, oldest first."""
        return self._open.models.rounds()

    # The whole

    def events(self) -> list[EventRow]:
        """Return what happened to the session itself (a change of the current model, a recovery after a crash), oldest first."""
        return marking.events(self._open.journal)

    def verifying(self) -> Job[list[str]]:
        """Check every row, edit and file and return a sentence for each thing that is wrong; empty if all is well. Changes nothing."""
        return Verifier(self._open).run()

    def verify(self) -> list[str]:
        """Run :meth:`verifying` to its end."""
        return run(self.verifying())

    def repairing(self) -> Job[list[str]]:
        """Mend what is damaged and return a sentence for each thing that was mended; what remains is what :meth:`verify` then says.

        Flipped bits are found by checksums and proven by hashes; a damaged edit is restored from those around it and a later label
        snapshot; label snapshots and cards are written anew from the journal. What is replaced is kept in the folder ``damaged``.
        """
        return Repair(self._open).run()

    def repair(self) -> list[str]:
        """Run :meth:`repairing` to its end."""
        return run(self.repairing())

    def compacting(self) -> Job[int]:
        """Give back the room that nothing needs and return the bytes; every version, edit, prediction and model stays."""
        return compact(self._open)

    def compact(self) -> int:
        """Run :meth:`compacting` to its end."""
        return run(self.compacting())

    def provenance(self, case_id: str, version: Version | None = None) -> dict[str, Any]:
        """Return where the mask of a version comes from, the present one by default, JSON-ready.

        It names the examination (hash of the voxels, what was dropped on import), the prediction (model, device, seed, versions of the
        programs), the model's ancestors with what each learned from, every edit, and how much of the mask comes from which of them.
        """
        return provenance(self._open, case_id, version or self.now(case_id))

    def export(self, case_id: str, folder: str | Path, ome_zarr: bool = False) -> Path:
        """Write the case's mask as ``<case id>.nii.gz`` on the original grid, and ``<case id>.provenance.json``, into `folder`.

        Parameters
        ----------
        case_id : str
        folder : path
            Made if there is none.
        ome_zarr : bool
            Also write ``<case id>.ome.zarr``: the images with the labels "tumour" and "annotation", for other programs, as OME-Zarr 0.5.

        Returns
        -------
        Path
            The mask's file.
        """
        parts, target = self._open, Path(folder)
        version = self.now(case_id)
        case, mask, annotation = self.case(case_id), self.mask(case_id, version), self.annotation(case_id, version.seq)
        said = self.provenance(case_id, version)
        if ome_zarr:
            write_ome_zarr(target, case_id, case, {"tumour": mask, "annotation": annotation}, said)
        return write_mask_and_provenance(target, case_id, mask, parts.cases.geometry(case_id), said)
