"""The examinations of a session: copied in once, phase by phase, and named by their content."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.session.durable import aside, in_words, manifest_of, publish, settle, to_json
from napari_breastseg.session.images import StoredImage, create_image, fill
from napari_breastseg.session.journal import Journal, now

CASES = "cases"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


class Cases:
    """The table of cases and their images."""

    def __init__(self, root: Path, journal: Journal) -> None:
        self._root = root
        self._journal = journal

    def ids(self) -> list[str]:
        """Return the ids in the order in which the cases came in."""
        return [row["case_id"] for row in self._journal.rows("case")]

    def row(self, case_id: str) -> sqlite3.Row:
        """Return the case's row; an unknown id is an InputError."""
        found = self._journal.rows("case", "case_id=?", (case_id,))
        if not found:
            known = ", ".join(self.ids()) or "none yet"
            raise InputError(f"The session has no case {case_id!r}. Choose one of: {known}.")
        return found[0]

    def shape(self, case_id: str) -> tuple[int, int, int]:
        """Return the case's grid (z, y, x)."""
        _, z, y, x = json.loads(self.row(case_id)["shape"])
        return z, y, x

    def add(self, case: Case) -> str:
        """Copy `case` in and return its id; a case with the same content is already there and keeps its id."""
        self._journal.writable()
        content = _content_hash(case)
        known = self._known(content)
        if known is not None:
            return known
        case_id = f"{_slug(case.name)}-{content[:10]}"
        with in_words(f"The case {case.name}"), aside(self._root / CASES) as temporary:
            array = create_image(
                temporary,
                case.name,
                case.images.shape,
                np.float32,
                case.geometry.spacing,
                leading="t",
                times=case.times,
                own=json.loads(to_json(_facts(case), "The case's metadata")),
            )
            for index in range(case.phases):
                fill(array, case.phase(index), first=index)
            settle(temporary)
            manifest = manifest_of(temporary)
            with self._journal.transaction(f"The case {case.name}"):
                known = self._known(content)
                if known is not None:
                    return known
                publish(temporary, self.folder(case_id))
                self._append(case, case_id, content, to_json(manifest, "The case"))
        return case_id

    def get(self, case_id: str) -> Case:
        """Return the case with images that are read when they are sliced."""
        row = self.row(case_id)
        return Case(
            name=row["name"],
            images=self.images(row),
            geometry=self.geometry(case_id),
            times=tuple(json.loads(row["times"])),
            modality=row["modality"],
            metadata=json.loads(row["metadata"]),
        )

    def geometry(self, case_id: str) -> Geometry:
        """Return where the case's voxels lie, without touching its images."""
        facts = json.loads(self.row(case_id)["geometry"])
        return Geometry(tuple(facts["spacing"]), np.asarray(facts["affine"], dtype=np.float64), tuple(facts["original_shape"]))

    def images(self, row: sqlite3.Row) -> StoredImage:
        """Return the array (phase, z, y, x) of a case's row."""
        manifest = json.loads(row["manifest"])
        return StoredImage(self._root, self.folder(row["case_id"]), "0", manifest, json.loads(row["shape"]), np.float32)

    def folder(self, case_id: str) -> Path:
        """Return where the images of a case lie; only ids that we made ourselves are taken."""
        if not _ID.fullmatch(case_id):
            raise InputError(f"{case_id!r} is no case id. Use one that the session lists.")
        return self._root / CASES / f"{case_id}.ome.zarr"

    def _known(self, content: str) -> str | None:
        found = self._journal.rows("case", "hash=?", (content,))
        return str(found[0]["case_id"]) if found else None

    def _append(self, case: Case, case_id: str, content: str, manifest: str) -> None:
        facts = _facts(case)
        self._journal.append(
            "case",
            case_id=case_id,
            hash=content,
            time=now(),
            name=case.name,
            shape=to_json([int(n) for n in case.images.shape], "The case's shape"),
            geometry=to_json(facts["geometry"], "The case's geometry"),
            times=to_json(facts["times"], "The case's times"),
            modality=case.modality,
            metadata=to_json(facts["metadata"], "The case's metadata"),
            manifest=manifest,
        )


def _facts(case: Case) -> dict[str, Any]:
    geometry = case.geometry
    return {
        "name": case.name,
        "geometry": {
            "spacing": [float(s) for s in geometry.spacing],
            "affine": geometry.affine.tolist(),
            "original_shape": [int(n) for n in geometry.original_shape],
        },
        "times": [float(t) for t in case.times],
        "modality": case.modality,
        "metadata": dict(case.metadata),
    }


def _content_hash(case: Case) -> str:
    """Hash what makes an examination itself: voxels, geometry, times and modality, but not how it is called."""
    facts = _facts(case)
    header = {key: facts[key] for key in ("geometry", "times", "modality")}
    digest = hashlib.sha256(to_json([header, [int(n) for n in case.images.shape]], "The case").encode())
    for index in range(case.phases):
        digest.update(np.ascontiguousarray(case.phase(index)).data)
    return digest.hexdigest()


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "case"
