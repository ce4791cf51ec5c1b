"""Paths between machines that share no file system.

The folders that matter are numbered. Each machine has them somewhere else, so a path within one crosses as the number of its folder and
the rest: ``Crossing("0/images.npy")``. Files of the same name from different folders never meet.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeAlias

Translate: TypeAlias = Callable[[PurePath], PurePath]
Stamp: TypeAlias = tuple[int, int, int]
"""Time of the last change in ns, size, inode: what tells that a file is not the one that it was."""


class Crossing(PurePosixPath):
    """A path on its way from one machine to another."""


def translated(value: Any, translate: Translate) -> Any:
    """Return `value` with every path in it translated, in dataclasses, lists, tuples and dicts too."""
    if isinstance(value, PurePath):
        return translate(value)
    if isinstance(value, dict):
        return {key: translated(item, translate) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [translated(item, translate) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        old = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        new = {name: translated(item, translate) for name, item in old.items()}
        return dataclasses.replace(value, **new) if any(new[name] is not old[name] for name in old) else value
    return value


def outward(folders: Sequence[Path]) -> Translate:
    """Return what makes a path within one of the numbered `folders` ready to cross; another path stays as it is."""

    def translate(path: PurePath) -> PurePath:
        whole = absolute(path)
        for number, folder in enumerate(folders):
            if whole.is_relative_to(folder):
                return Crossing(str(number), *whole.relative_to(folder).parts)
        return path

    return translate


def inward(folders: Sequence[Path]) -> Translate:
    """Return what undoes :func:`outward` on the other machine."""

    def translate(path: PurePath) -> PurePath:
        return local(path, folders) if isinstance(path, Crossing) else path

    return translate


def local(path: Crossing, folders: Sequence[Path]) -> Path:
    """Return where a path that has crossed lies here."""
    number, *parts = path.parts
    return folders[int(number)].joinpath(*parts)


def absolute(path: PurePath) -> Path:
    """Return `path` from the root, without following links: they may lead to another name."""
    return Path(os.path.abspath(path))


@dataclasses.dataclass(frozen=True)
class Luggage:
    """What travels with the arguments of a job.

    Parameters
    ----------
    folders : list of Path
        The numbered folders: first the work folders, that is those that an argument names, then those that a file lies in.
    works : int
        Number of work folders.
    files : list of Path
        What is sent: files that an argument names, each with the ``.json`` of the same name beside it, and all of the work folders.
    """

    folders: list[Path]
    works: int
    files: list[Path]


def luggage(kwargs: object) -> Luggage:
    """Find the files and folders that the arguments of a job name."""
    named: list[Path] = []

    def note(path: PurePath) -> PurePath:
        named.append(absolute(path))
        return path

    translated(kwargs, note)
    folders: list[Path] = []
    for path in sorted((path for path in named if path.is_dir()), key=lambda path: len(path.parts)):
        _add(path, folders)
    works = len(folders)
    files = dict.fromkeys(file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())
    for path in named:
        if path.is_file():
            files |= dict.fromkeys(file for file in (path, path.with_suffix(".json")) if file.is_file())
            _add(path.parent, folders)
    return Luggage(folders, works, list(files))


def _add(path: Path, folders: list[Path]) -> None:
    if not any(path.is_relative_to(folder) for folder in folders):
        folders.append(path)


def stamps(folders: Sequence[Path]) -> dict[str, Stamp]:
    """Return the stamp of every file in the numbered `folders`, by its crossing name."""
    name = outward(folders)
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return {str(name(file)): stamp(file) for file in files}


def stamp(path: Path) -> Stamp:
    """Return the stamp of one file."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
