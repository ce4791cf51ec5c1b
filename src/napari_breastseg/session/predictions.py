"""What models said of the cases: immutable arrays on disk and a row for each."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_breastseg.case import REFINED_WITH, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.disk.durable import aside, in_words, publish, settle
from napari_breastseg.session.disk.images import StoredImage, create_image, fill
from napari_breastseg.session.disk.manifests import manifest_of, read_manifest
from napari_breastseg.session.disk.places import PREDICTIONS
from napari_breastseg.session.disk.text import from_json, to_json, understood
from napari_breastseg.session.journal import Journal, counter_of, now
from napari_breastseg.session.rows import PredictionRow

_KINDS = {"probability": np.dtype(np.float32), "coarse": np.dtype(np.uint8), "refined": np.dtype(np.uint8)}
_LARGEST = 2**33
"""Bytes of an array: eight times a probability of 256 x 1024 x 1024 voxels."""
_PATH = re.compile(r"probability|coarse|refined|maps/\d+")
_ASIDE = "only compared"
"""The detail that marks a prediction which is kept for comparing versions of the model: no mask ever comes from it."""


class StoredMaps(Mapping[str, npt.NDArray[Any]]):
    """Maps by name, each read from the session when it is asked for: they are many times as large as the masks."""

    def __init__(self, paths: Mapping[str, str], read: Callable[[str], npt.NDArray[Any]]) -> None:
        self._paths = paths
        self._read = read

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._read(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class Predictions:
    """The table of predictions and their arrays."""

    def __init__(self, root: Path, journal: Journal, cases: Cases) -> None:
        self._root = root
        self._journal = journal
        self._cases = cases

    def folder(self, number: int) -> Path:
        """Return where the arrays of a prediction lie."""
        return self._root / PREDICTIONS / f"{int(number)}.zarr"

    def add(self, case_id: str, prediction: Prediction, only_compared: bool) -> int:
        """Store `prediction` and return its number; the arrays are on the disk before the row is."""
        self._journal.writable()
        shape = self._cases.shape(case_id)
        volumes = _volumes(prediction, shape)
        spacing = self._cases.geometry(case_id).spacing
        said = dict(prediction.details) | ({_ASIDE: True} if only_compared else {})
        details = to_json(said, "The prediction's details")
        with in_words("The prediction"), aside(self._root / PREDICTIONS) as temporary:
            zarr.create_group(store=str(temporary), zarr_format=3)
            for path, (name, array) in volumes.items():
                leading = "c" if array.ndim == 4 else ""
                label = path in {"coarse", "refined"}
                fill(create_image(temporary / path, name, array.shape, array.dtype, spacing, leading=leading, label=label), array)
            settle(temporary)
            arrays = {path: [name, array.shape, array.dtype.str] for path, (name, array) in volumes.items()}
            values = {"arrays": to_json(arrays, "The prediction"), "manifest": to_json(manifest_of(temporary), "The prediction")}
            with self._journal.transaction("The prediction"):
                self._journal.rows("prediction", "0")  # no number is given away twice, nor a folder replaced that a row names
                number = int(self._journal.head(counter_of("prediction")) or 0) + 1
                publish(temporary, self.folder(number))
                values |= {"case_id": case_id, "model": prediction.model, "time": now(), "details": details}
                return self._journal.append("prediction", **values, seq=int(self._journal.head(counter_of("edit", case_id)) or 0))

    def rows(self, case_id: str) -> list[PredictionRow]:
        """Return the predictions that the masks of a case come from, oldest first."""
        found = self._shown(case_id)
        return [PredictionRow(row["id"], row["model"], row["time"], from_json(row["details"], _named(row)), row["seq"]) for row in found]

    def get(self, case_id: str, number: int | None, in_memory: bool) -> Prediction | None:
        """Return a prediction of the case, the latest if `number` is None; see :meth:`Session.prediction`."""
        row = self._row(case_id, number)
        if row is None:
            return None
        with understood(_named(row)):
            arrays = from_json(row["arrays"], _named(row))
            names = {str(name): path for path, (name, *_) in arrays.items() if path.startswith("maps/")}
        return Prediction(
            model=row["model"],
            probability=self._array(row, "probability") if in_memory else self.stored(row, "probability"),
            coarse=self._array(row, "coarse") if in_memory else self.stored(row, "coarse"),
            refined=self._array(row, "refined"),
            maps=StoredMaps(names, lambda path: self._array(row, path)),
            details=from_json(row["details"], _named(row)),
        )

    def refined(self, case_id: str, number: int | None = None) -> npt.NDArray[np.uint8] | None:
        """Return the refined mask of a prediction alone, the latest if `number` is None, or None before the first."""
        row = self._row(case_id, number)
        return None if row is None else self._array(row, "refined")

    def by(self, case_id: str, model: str) -> npt.NDArray[np.uint8] | None:
        """Return the latest refined mask that a model alone gave of the case, also one that was only compared; None if it never did."""
        self._cases.row(case_id)
        rows = self._journal.rows("prediction", "case_id=? AND model=?", (case_id, model))
        found = [row for row in rows if not _said(row, REFINED_WITH)]
        return self._array(found[-1], "refined") if found else None

    def _shown(self, case_id: str) -> list[sqlite3.Row]:
        self._cases.row(case_id)
        found = self._journal.rows("prediction", "case_id=?", (case_id,))
        return [row for row in found if not _said(row, _ASIDE)]

    def _row(self, case_id: str, number: int | None) -> sqlite3.Row | None:
        found = self._shown(case_id)
        if number is None:
            return found[-1] if found else None
        for row in found:
            if row["id"] == number:
                return row
        raise InputError(f"The case {case_id} has no prediction {number}. Choose one that the session lists.")

    def _array(self, row: sqlite3.Row, path: str) -> npt.NDArray[Any]:
        return self.stored(row, path)[...]

    def stored(self, row: sqlite3.Row, path: str) -> StoredImage:
        """Return an array of a prediction, read when it is sliced; it must lie on the case's grid."""
        with understood(_named(row)):
            _, shape, kind = from_json(row["arrays"], _named(row))[path]
            dtype = np.dtype(str(kind))
            grid = self._cases.shape(row["case_id"])
            known = _KINDS.get(path)
            fits = (tuple(shape), dtype) == (grid, known) if known else tuple(shape[-3:]) == grid and dtype.kind in "biuf"
            if not fits or not _PATH.fullmatch(path) or math.prod(shape) * dtype.itemsize > _LARGEST:
                raise ValueError("not on the case's grid")
        prefix = f"{path}/"
        files = read_manifest(row["manifest"], _named(row))
        manifest = {name.removeprefix(prefix): entry for name, entry in files.items() if name.startswith(prefix)}
        return StoredImage(self._root, self.folder(row["id"]) / path, "0", manifest, shape, dtype)


def _said(row: sqlite3.Row, detail: str) -> bool:
    details = from_json(row["details"], _named(row))
    return isinstance(details, dict) and detail in details


def _named(row: sqlite3.Row) -> str:
    return f"The prediction {row['id']}"


def _volumes(prediction: Prediction, shape: tuple[int, int, int]) -> Mapping[str, tuple[str, npt.NDArray[Any]]]:
    """Return path -> (name, array) of everything to store; map names are data, never paths."""
    volumes: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "probability": ("probability", np.asarray(prediction.probability, dtype=np.float32)),
        "coarse": ("coarse", np.asarray(prediction.coarse, dtype=np.uint8)),
        "refined": ("refined", np.asarray(prediction.refined, dtype=np.uint8)),
    }
    for index, (name, array) in enumerate(prediction.maps.items()):
        volumes[f"maps/{index}"] = (str(name), np.asarray(array))
    for name, array in volumes.values():
        if array.shape[-3:] != shape or array.ndim not in (3, 4) or array.dtype.hasobject:
            raise InputError(f"The prediction's {name} has shape {array.shape}, the case {shape}. Predict on the case's own grid.")
    return volumes
