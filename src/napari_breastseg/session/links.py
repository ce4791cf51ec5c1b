"""Images that stay where they are: linked by path and hash, so that a cohort need not be stored twice.

A link leads out of the session, so it is followed only in sessions that were linked by this account on this computer, or that the person
said yes to. Until then nothing at its path is touched, not even looked for.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from platformdirs import user_state_path

from napari_breastseg.case import Case
from napari_breastseg.errors import BreastSegError, SessionError
from napari_breastseg.session.disk.durable import aside, in_words, publish, settle

_FILE = "linked-sessions.json"


class LinkedImage:
    """The images of a linked case, shape (phase, z, y, x): read and checked as a whole when they are first sliced, then kept.

    Parameters
    ----------
    path : Path
        Where they lie, as :func:`napari_breastseg.io.read_case` takes it.
    shape : tuple of int
        As it was when they were linked.
    is_same : callable
        Tells whether what was read is still the case that was linked.

    Raises
    ------
    SessionError
        When it is sliced and the files are missing, cannot be read, or have changed.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, shape: tuple[int, ...], is_same: Callable[[Case], bool]) -> None:
        self._path = path
        self.shape = shape
        self._is_same = is_same
        self._lock = threading.Lock()
        self._images: npt.NDArray[np.float32] | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return np.asarray(self._read()[index])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self._read(), dtype=dtype)

    def _read(self) -> npt.NDArray[np.float32]:
        with self._lock:
            if self._images is None:
                found = read_linked(self._path)
                if found.images.shape != self.shape or not self._is_same(found):
                    raise SessionError(f"The images in {self._path} are no longer those that were linked. Put them back as they were.")
                self._images = np.asarray(found.images, dtype=np.float32)
            return self._images


def read_linked(path: Path) -> Case:
    """Read the case that a link leads to.

    Raises
    ------
    SessionError
        If it cannot be read.
    """
    from napari_breastseg.io import read_case

    try:
        return read_case(path)
    except (BreastSegError, OSError, ValueError) as error:
        raise SessionError(f"The linked images cannot be read: {error}") from error


def is_trusted(root: Path, identity: str, links: Iterable[str]) -> bool:
    """Tell whether this account may follow each of these links of the session in `root`."""
    return {_key(root, identity, link) for link in links} <= _trusted()


def trust(root: Path, identity: str, links: Iterable[str]) -> None:
    """Remember, outside of the session, that these links of it may be followed; another one, or one that is changed, is not."""
    folder = user_state_path("napari-breastseg")
    with in_words("The consent to follow links"), aside(folder) as temporary:
        temporary.write_text(json.dumps(sorted({*_trusted(), *(_key(root, identity, link) for link in links)})), encoding="utf-8")
        settle(temporary)
        publish(temporary, folder / _FILE)


def _trusted() -> set[str]:
    try:
        return set(json.loads((user_state_path("napari-breastseg") / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()


def _key(root: Path, identity: str, link: str) -> str:
    return hashlib.sha256(f"{root.resolve()}\n{identity}\n{link}".encode("utf-8", "surrogateescape")).hexdigest()
