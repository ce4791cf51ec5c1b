"""What lies where in a session, that none of it leads outside, and what kind of disk it lies on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil

from napari_breastseg.errors import SessionError

DATABASE = "session.sqlite"
LOCK = "LOCK"
CASES, LABELS, MODELS, PREDICTIONS = "cases", "labels", "models", "predictions"
DAMAGED = "damaged"
"""Where damaged files are kept as they were found."""
WORK = "work"
"""Where a learning round works; nothing in it is needed after a crash, but the round goes on from it."""
ENCODED = "encoded"
"""Windows of corrected cases as an encoder left them, kept for later rounds; they can be made again."""

_FOLDERS = (CASES, LABELS, MODELS, PREDICTIONS, DAMAGED, WORK, ENCODED)
_NETWORK = {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "davfs", "9p", "fuse.sshfs", "ncpfs", "lustre"}


def check_places(root: Path) -> None:
    """Refuse a session that would have us write, remove or read elsewhere.

    Raises
    ------
    SessionError
        If one of its folders is a link, or a file that is written in place is one, has another name elsewhere, or is no plain file.
    """
    folders = [root / name for name in _FOLDERS]
    if not any(is_link(folder) for folder in folders):
        folders += [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    for folder in folders:
        if is_link(folder):
            raise SessionError(f"{folder.relative_to(root).as_posix()} leads out of the session {root}. Do not use this session.")
    for name in (LOCK, DATABASE):
        check_plain(root / name)


def check_plain(path: Path) -> None:
    """Refuse a file that is written in place if it is anything but a plain file with this one name; one that is missing is fine.

    Raises
    ------
    SessionError
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise SessionError(f"{path} is no plain file of its own: writing to it would change something else. Do not use this session.")


def is_plain(path: Path) -> bool:
    """Tell whether `path` is a file, and one that has no other name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def is_link(path: Path) -> bool:
    """Tell whether `path` is a symbolic link, or on Windows a junction."""
    junction = getattr(os.path, "isjunction", None)
    return path.is_symlink() or bool(junction and junction(path))


def on_network(folder: Path) -> bool:
    """Tell whether `folder` lies on a network drive, as far as the system says."""
    place = folder.resolve()
    mounted = [disk for disk in psutil.disk_partitions(all=True) if place.is_relative_to(disk.mountpoint)]
    nearest = max(mounted, key=lambda disk: len(Path(disk.mountpoint).parts), default=None)
    return nearest is not None and (nearest.fstype.lower() in _NETWORK or "remote" in nearest.opts.split(","))
