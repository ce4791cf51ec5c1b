"""The examinations of a session: copied in once, phase by phase, or linked; named by their content."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import unicodedata
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import BreastSegError, InputError, SessionError
from napari_breastseg.session.disk.chunks import check_shape
from napari_breastseg.session.disk.durable import aside, in_words, publish, settle
from napari_breastseg.session.disk.images import StoredImage, create_image, fill
from napari_breastseg.session.disk.manifests import manifest_of, problems_with, read_manifest
from napari_breastseg.session.disk.places import CASES
from napari_breastseg.session.disk.text import from_json, to_json, understood
from napari_breastseg.session.journal import Journal, counter_of, now
from napari_breastseg.session.links import LinkedImage, is_trusted, read_linked, trust

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_IDENTITY = "identity"


class Cases:
    """The table of cases and their images."""

    def __init__(self, root: Path, journal: Journal) -> None:
        self._root = root
        self._journal = journal

    def ids(self) -> list[str]:
        """Return the ids in the order in which the cases came in."""
        return [_checked_id(row["case_id"]) for row in self._journal.rows("case")]

    def row(self, case_id: str) -> sqlite3.Row:
        """Return the case's row; an unknown id is an InputError."""
        _checked_id(case_id)
        found = self._journal.rows("case", "case_id=?", (case_id,))
        if not found:
            known = ", ".join(self.ids()) or "none yet"
            raise InputError(f"The session has no case {case_id!r}. Choose one of: {known}.")
        return found[0]

    def shape(self, case_id: str) -> tuple[int, int, int]:
        """Return the case's grid (z, y, x)."""
        _, z, y, x = _shape(self.row(case_id))
        return z, y, x

    def add(self, case: Case, link: Path | None) -> str:
        """Copy or link `case` and return its id; a case with the same content keeps its id, and its files are mended if need be."""
        self._journal.writable()
        content = content_hash(case)
        known = self._known(content)
        if known is not None and not self.problems(known):
            return str(known["case_id"])
        if link is not None and (known is None or known["link"] is not None):
            return self._link(case, link.absolute(), content, known)
        return self._copy(case, content)

    def _copy(self, case: Case, content: str) -> str:
        case_id = _new_id(case, content)
        with in_words(f"The case {case.name}"), aside(self._root / CASES) as temporary:
            own = from_json(to_json(_facts(case), "The case's metadata"), "The case's metadata")
            spacing = case.geometry.spacing
            array = create_image(temporary, case.name, case.images.shape, np.float32, spacing, leading="t", times=case.times, own=own)
            for index in range(case.phases):
                fill(array, case.phase(index), first=index)
            settle(temporary)
            manifest = to_json(manifest_of(temporary), "The case")
            with self._journal.transaction(f"The case {case.name}"):
                known = self._known(content)
                case_id = case_id if known is None else known["case_id"]
                publish(temporary, self.folder(case_id))
                if known is None:
                    self._append(case, case_id, content, manifest, None)
                else:
                    self._journal.amend("case", known, manifest=manifest, link=None)
        return str(case_id)

    def _link(self, case: Case, path: Path, content: str, known: sqlite3.Row | None) -> str:
        found = read_linked(path)
        if found.images.shape != case.images.shape or content_hash(replace(found, times=case.times, modality=case.modality)) != content:
            raise InputError(f"The images in {path} are not those of {case.name}, so they cannot be linked. Copy them into the session.")
        with self._journal.transaction(f"The case {case.name}"):
            if self._journal.head(_IDENTITY) is None:
                self._journal.set_head(_IDENTITY, uuid.uuid4().hex)
            if known is not None:
                self._journal.amend("case", known, link=str(path))
            else:
                self._append(case, _new_id(case, content), content, "{}", str(path))
        trust(self._root, str(self._journal.head(_IDENTITY)), [str(path)])
        return _new_id(case, content) if known is None else str(known["case_id"])

    def get(self, case_id: str) -> Case:
        """Return the case with images that are read when they are sliced."""
        row = self.row(case_id)
        geometry = self.geometry(case_id)
        images = self.images(row)
        with understood(f"The case {case_id}"):
            times = tuple(float(t) for t in from_json(row["times"], f"The case {case_id}"))
            return Case(str(row["name"]), images, geometry, times, row["modality"], self.metadata(case_id))

    def metadata(self, case_id: str) -> dict[str, Any]:
        """Return what is known of the case besides, without touching its images."""
        found = from_json(self.row(case_id)["metadata"], f"The case {case_id}")
        with understood(f"The case {case_id}"):
            return dict(found)

    def geometry(self, case_id: str) -> Geometry:
        """Return where the case's voxels lie, without touching its images."""
        facts = from_json(self.row(case_id)["geometry"], f"The case {case_id}")
        with understood(f"The case {case_id}"):
            z, y, x = (float(s) for s in facts["spacing"])
            i, j, k = (int(n) for n in facts["original_shape"])
            # Before the unit was kept, ultrasound was what image files were taken for.
            known = facts.get("unit", "pixel" if self.row(case_id)["modality"] == "ultrasound" else "mm")
            unit: Literal["mm", "pixel"] = "pixel" if known == "pixel" else "mm"
            return Geometry((z, y, x), np.asarray(facts["affine"], dtype=np.float64), (i, j, k), unit)

    def images(self, row: sqlite3.Row) -> StoredImage | LinkedImage:
        """Return the array (phase, z, y, x) of a case's row.

        Raises
        ------
        SessionError
            If the files are damaged, or linked in a session whose links are not trusted.
        """
        shape = _shape(row)
        if row["link"] is None:
            manifest = read_manifest(row["manifest"], row["case_id"])
            return StoredImage(self._root, self.folder(row["case_id"]), "0", manifest, shape, np.float32)
        if not self._is_trusted([row["link"]]):
            raise SessionError(
                f"The images of {row['name']} lie outside the session, in {row['link']}, and the session was not made here. "
                "Have its links followed only if you know where it comes from."
            )
        times, modality = tuple(from_json(row["times"], row["case_id"])), row["modality"]
        return LinkedImage(
            Path(row["link"]), shape, lambda found: content_hash(replace(found, times=times, modality=modality)) == row["hash"]
        )

    def links_trusted(self) -> bool:
        """Tell whether links may be followed; so they may where there are none."""
        return self._is_trusted(self._links())

    def _links(self) -> list[str]:
        return [row["link"] for row in self._journal.rows("case") if row["link"] is not None]

    def _is_trusted(self, links: list[str]) -> bool:
        identity = self._journal.head(_IDENTITY)
        return not links or (identity is not None and is_trusted(self._root, str(identity), links))

    def trust_links(self) -> None:
        """Remember that the links of this session may be followed.

        Raises
        ------
        SessionError
            If the session has no identity by which to remember it and cannot be given one, as it is open for reading only.
        """
        identity = self._journal.head(_IDENTITY)
        if identity is None:
            identity = uuid.uuid4().hex
            with self._journal.transaction("The consent to follow links"):
                self._journal.set_head(_IDENTITY, identity)
        trust(self._root, str(identity), self._links())

    def problems(self, row: sqlite3.Row) -> list[str]:
        """Say what is wrong with the files of a case."""
        if row["link"] is not None:
            try:
                np.asarray(self.images(row)[0, 0, 0, 0])
            except BreastSegError as error:
                return [str(error).rstrip(".")]
            return []
        folder = self.folder(row["case_id"])
        manifest = read_manifest(row["manifest"], row["case_id"])
        return problems_with(self._root, folder, manifest)

    def folder(self, case_id: str) -> Path:
        """Return where the images of a case lie; only ids that we made ourselves are taken."""
        return self._root / CASES / f"{_checked_id(case_id)}.ome.zarr"

    def _known(self, content: str) -> sqlite3.Row | None:
        found = self._journal.rows("case", "hash=?", (content,))
        return found[0] if found else None

    def _append(self, case: Case, case_id: str, content: str, manifest: str, link: str | None) -> None:
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
            link=link,
        )
        self._journal.set_head(counter_of("edit", case_id), 0)


def content_hash(case: Case) -> str:
    """Hash what makes an examination itself: voxels, geometry, times and modality, but not how it is called."""
    facts = _facts(case)
    header = {key: facts[key] for key in ("geometry", "times", "modality")}
    del header["geometry"]["unit"]  # follows from the file
    digest = hashlib.sha256(to_json([header, [int(n) for n in case.images.shape]], "The case").encode())
    for index in range(case.phases):
        digest.update(np.ascontiguousarray(case.phase(index)).data)
    return digest.hexdigest()


def _checked_id(case_id: str) -> str:
    """Return an id that can be the name of a file and nothing else."""
    if not _ID.fullmatch(case_id):
        raise InputError(f"{case_id!r} is no case id. Use one that the session lists.")
    return case_id


def _shape(row: sqlite3.Row) -> tuple[int, ...]:
    what = f"The case {row['case_id']}"
    shape = check_shape(from_json(row["shape"], what), what)
    with understood(what):
        phases, z, y, x = shape
        return phases, z, y, x


def _facts(case: Case) -> dict[str, Any]:
    geometry = case.geometry
    return {
        "name": case.name,
        "geometry": {
            "spacing": [float(s) for s in geometry.spacing],
            "affine": geometry.affine.tolist(),
            "original_shape": [int(n) for n in geometry.original_shape],
            "unit": geometry.unit,
        },
        "times": [float(t) for t in case.times],
        "modality": case.modality,
        "metadata": dict(case.metadata),
    }


def _new_id(case: Case, content: str) -> str:
    plain = unicodedata.normalize("NFKD", case.name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "case"
    return f"{slug}-{content[:10]}"
