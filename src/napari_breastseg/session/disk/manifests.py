"""What the files of a folder must be: sizes and sha256 as the journal keeps them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.places import is_link
from napari_breastseg.session.disk.text import from_json, understood

Manifest: TypeAlias = dict[str, list[Any]]
"""Relative path (with ``/``) of every file of a folder: ``[size in bytes, sha256]``."""


def sha256_of(path: Path) -> str:
    """Return the sha256 of the file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(folder: Path) -> Manifest:
    """List every file under `folder` with its size and sha256."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, sha256_of(path)] for path in paths}


def read_manifest(text: str, what: str) -> Manifest:
    """Return the manifest that a row of the journal holds as text."""
    found = from_json(text, f"The list of files of {what}")
    with understood(f"The list of files of {what}"):
        return {str(name): [int(size), str(sha)] for name, (size, sha) in found.items()}


def check_quickly(root: Path, folder: Path, manifest: Mapping[str, list[Any]]) -> None:
    """Check before reading that `folder` is the one in `manifest`: plain files within `root`, right sizes, and right bytes of the metadata.

    The chunks carry their own checksums, which are checked as they are read.

    Raises
    ------
    SessionError
        If something is missing, changed, or a link.
    """
    for name, entry in manifest.items():
        problem = problem_with(root, folder, name, entry, whole=name.endswith(".json"))
        if problem:
            raise SessionError(f"{problem}. Restore it from a backup; `napari-breastseg verify` lists everything that is damaged.")


def problems_with(root: Path, folder: Path, manifest: Manifest) -> list[str]:
    """Say what is wrong with the files of `manifest`, each read as a whole."""
    return [found for name, entry in manifest.items() if (found := problem_with(root, folder, name, entry, whole=True))]


def strangers(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the files and links under `folder` that are not in its manifest; a folder that is thinned out meanwhile has none."""
    entries = (Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files))
    found = [path for path in entries if is_link(path) or path.is_file()]
    return sorted(path for path in found if path.relative_to(folder).as_posix() not in manifest)


def problem_with(root: Path, folder: Path, name: str, entry: list[Any], *, whole: bool) -> str | None:
    """Say what is wrong with one file of a manifest, or None; `whole` also compares its sha256."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        return f"{folder.relative_to(root).as_posix()} names a file that leads out of the session"
    path = folder / name
    shown = path.relative_to(root).as_posix()
    if _through_a_link(root, path):
        return f"{shown} leads out of the session"
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"{shown} is missing"
    if not stat.S_ISREG(found.st_mode):
        return f"{shown} is not a plain file"
    if found.st_size != entry[0] or (whole and sha256_of(path) != entry[1]):
        return f"{shown} is damaged"
    return None


def _through_a_link(root: Path, path: Path) -> bool:
    parts = path.relative_to(root).parts
    return any(is_link(root.joinpath(*parts[:n])) for n in range(1, len(parts) + 1))
