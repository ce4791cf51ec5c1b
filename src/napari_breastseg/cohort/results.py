"""The folder that a cohort's masks go to.

Every case is predicted into a folder of its own under :data:`WORK`. Once its record is there, which is written last and names the sha256 of
every file, the files are moved into the results, the record last. What a crash leaves under `WORK` is moved on if its record and its files
are whole, and thrown away if not, so that a mask in the results is always a whole one, and one that its record names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from napari_breastseg.cohort.job import digest, mask_name, probability_name, record_name, uncertainty_name
from napari_breastseg.errors import InputError, SessionLockedError
from napari_breastseg.io.atomic import flush_folder
from napari_breastseg.session.disk.lock import SessionLock

WORK = ".work"
FOREIGN = "{} was not written by this command, or was changed since. Move it away, or choose another folder."


class Results:
    """The results of a cohort, for the time of one run; what an earlier run left half-way is brought in order.

    Parameters
    ----------
    out : Path
        Made if it is not there.

    Raises
    ------
    InputError
        If `out` is a file, or another run is writing to it.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._cases = out / WORK / "cases"
        try:
            self._cases.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{out} is a file. Give --out a folder for the masks.") from error
        try:
            self._lock = SessionLock(out / WORK)
        except SessionLockedError as error:
            raise InputError(f"Another run is writing to {out}. Wait until it is done, or choose another folder.") from error
        for left in self._folders():
            with suppress(InputError):  # it will be told of the case itself
                self.settle(left.name)
        self._tidy()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._tidy()
        finally:
            self._lock.release()

    def place(self, name: str) -> Path:
        """Return the folder in which a case is predicted; it is there and empty."""
        folder = self._cases / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def settle(self, name: str) -> dict[str, Any] | None:
        """Move a predicted case into the results and return its record; None if it is not all there.

        Raises
        ------
        InputError
            If a file is in its place that no run wrote, or that somebody has changed since.
        """
        folder, record_file = self._cases / name, record_name(name)
        record, old = _read(folder / record_file), _files(self._out / record_file)
        files = _files(folder / record_file)
        where = {file: next((place for place in (folder, self._out) if _is(place / file, sha)), None) for file, sha in files.items()}
        if record is None or mask_name(name) not in files or None in where.values():
            return None
        for file, sha in files.items():
            if not _ours(self._out / file, old.get(file), sha):
                raise InputError(FOREIGN.format(self._out / file))
        for file, place in where.items():
            if place == folder:
                (self._out / file).parent.mkdir(exist_ok=True)
                os.replace(folder / file, self._out / file)
                flush_folder((self._out / file).parent)
        for file in old.keys() - files.keys():  # before the record that knows them goes
            if _is(self._out / file, old[file]):
                (self._out / file).unlink()
        os.replace(folder / record_file, self._out / record_file)
        flush_folder(self._out)
        shutil.rmtree(folder, ignore_errors=True)
        return record

    def kept(self, name: str, asked: Mapping[str, Any], probability: bool) -> dict[str, Any] | None:
        """Return the record of a case that was predicted before, just as it is asked for now; None if it must be predicted.

        Raises
        ------
        InputError
            If predicting it would overwrite a file that no run wrote, or that somebody changed since.
        """
        record = _read(self._out / record_name(name))
        known = _files(self._out / record_name(name))
        wanted = [mask_name(name)]
        wanted += [probability_name(name)] if probability else []
        wanted += [uncertainty_name(name)] if asked.get("mirror") else []
        for file in wanted:
            path = self._out / file
            if path.exists() and not _is(path, known.get(file)):
                raise InputError(FOREIGN.format(path))
        whole = all((self._out / file).is_file() for file in wanted)
        if record is None or "longest" not in record or not whole:  # an earlier version measured less
            return None
        return record if record.get("asked") == asked else None

    def _folders(self) -> list[Path]:
        return [path for path in self._cases.iterdir() if path.is_dir()]

    def _tidy(self) -> None:
        for left in self._folders():
            shutil.rmtree(left, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _files(path: Path) -> dict[str, str]:
    """Return the sha256 of each file that the record at `path` names, of those that a record may name."""
    record, name = _read(path), path.name.removesuffix(".json")
    files = record.get("files") if record is not None else None
    return (
        {file: files[file] for file in (mask_name(name), probability_name(name), uncertainty_name(name)) if file in files}
        if isinstance(files, dict)
        else {}
    )


def _ours(path: Path, *shas: object) -> bool:
    """Tell whether a file may be replaced: it is not there, or is one of those that runs have written."""
    return not path.exists() or any(_is(path, sha) for sha in shas)


def _is(path: Path, sha: object) -> bool:
    return path.is_file() and digest(path) == sha
