"""Stores that keep one label volume under the same strokes: a session, plain Zarr changed in place, and Icechunk."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from zarr.storage import LocalStore

from napari_breastseg.case import UNDECIDED, Case, Geometry, slices
from napari_breastseg.evaluation.session_trials.history import Labels
from napari_breastseg.evaluation.session_trials.material import Shape
from napari_breastseg.session import Edit, Session
from napari_breastseg.session.disk.places import CASES

OURS = "session"
_CHUNK = 64


class Store(Protocol):
    """A label volume on the disk that takes edits one after another."""

    def commit(self, edit: Edit) -> None:
        """Make the edit; what else the store does for it may go on behind."""

    def version(self, seq: int) -> Labels | None:
        """Return the volume after the edit `seq`, or None if the store keeps the last version only."""

    def close(self) -> None:
        """Finish what goes on behind."""


class SessionStore:
    """A session with one empty case; its images are one value, so that they take no room."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        geometry = Geometry((1.0, 1.0, 1.0), np.eye(4), (shape[2], shape[1], shape[0]))
        self._session = Session.create(folder)
        self._case_id = self._session.add_case(Case("trial", np.broadcast_to(np.float32(0), (1, *shape)), geometry))

    def commit(self, edit: Edit) -> None:
        """Record the edit."""
        self._session.record(self._case_id, edit)

    def version(self, seq: int) -> Labels | None:
        """Return the annotation at `seq`."""
        return self._session.annotation(self._case_id, seq)

    def close(self) -> None:
        """Wait for the snapshot that is being written."""
        self._session.close()


class InPlaceZarr:
    """A Zarr array that is changed in place."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._array = _array(LocalStore(str(folder)), shape)

    def commit(self, edit: Edit) -> None:
        """Read, change and write the chunks under the edit."""
        _change(self._array, edit)

    def version(self, seq: int) -> Labels | None:
        """Return None: nothing but the last version is there."""
        return None

    def close(self) -> None:
        """Nothing is left to do."""


class Icechunk:
    """A Zarr array in an Icechunk repository on the local disk, a commit per edit."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        icechunk = importlib.import_module("icechunk")  # an optional library
        icechunk.set_logs_filter("error")  # it warns of two writers on a local disk, and there is one
        self._repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(folder)))
        session = self._repository.writable_session("main")
        _array(session.store, shape)
        self._commits = [session.commit("empty")]

    def commit(self, edit: Edit) -> None:
        """Change the chunks under the edit and commit them."""
        session = self._repository.writable_session("main")
        _change(zarr.open_array(session.store, path="labels"), edit)
        self._commits.append(session.commit(edit.tool))

    def version(self, seq: int) -> Labels | None:
        """Return the volume at a commit."""
        session = self._repository.readonly_session(snapshot_id=self._commits[seq])
        return np.asarray(zarr.open_array(session.store, path="labels", mode="r")[...])

    def close(self) -> None:
        """Nothing is left to do."""


def open_stores(place: Path, shape: Shape) -> dict[str, Store | None]:
    """Return the stores by name, in folders of these names within `place`; None for one that is not installed."""
    return {
        OURS: SessionStore(place / OURS, shape),
        "zarr in place": InPlaceZarr(place / "zarr in place", shape),
        "icechunk": Icechunk(place / "icechunk", shape) if find_spec("icechunk") else None,
    }


def kilobytes(folder: Path) -> float:
    """Return the size of all files in a store's folder but a session's images, kB."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != CASES)
    return sum(path.stat().st_size for path in files) / 1000


def _array(store: Any, shape: Shape) -> zarr.Array[Any]:
    return zarr.create_array(store, name="labels", shape=shape, chunks=(_CHUNK,) * 3, dtype="u1", fill_value=UNDECIDED)


def _change(array: zarr.Array[Any], edit: Edit) -> None:
    part = np.array(array[slices(edit.box)])
    part[edit.mask] = edit.value if isinstance(edit.value, int) else edit.value[edit.mask]
    array[slices(edit.box)] = part
