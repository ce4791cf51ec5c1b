"""Files that are either there in full or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from napari_breastseg.errors import InputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`; what stood there before stays until the new file is complete and on the disk.

    Raises
    ------
    InputError
        If the folder is missing or cannot be written to, or the disk is full. Nothing is left behind then.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        flush_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}). Choose a folder that exists and has room.") from error
    finally:
        aside.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make the new name itself durable; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
