"""Small file systems of our own, where the system allows to mount them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class NotAllowed(Exception):
    """The system does not let us mount; the text says why."""


@contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system in memory on `folder`."""
    with _mounted(folder, ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]):
        yield folder


def make_ext4(image: Path, megabytes: int) -> None:
    """Write an empty ext4 file system to the file `image`."""
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    _run(["mkfs.ext4", "-q", "-F", str(image)])


@contextmanager
def ext4(folder: Path, image: Path) -> Iterator[Path]:
    """Mount the file `image` on `folder` as a disk; it commits nothing by itself for five minutes, only what is flushed."""
    with _mounted(folder, ["-t", "ext4", "-o", "loop,commit=300", str(image)]):
        yield folder


@contextmanager
def _mounted(folder: Path, how: Sequence[str]) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    _run(["mount", *how, str(folder)])
    try:
        yield
    finally:
        _run(["umount", "-l", str(folder)])


def _run(command: Sequence[str]) -> None:
    if sys.platform != "linux":
        raise NotAllowed("mounting a file system for a trial needs Linux")
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotAllowed(f"{command[0]} is not installed") from None
    if ran.returncode:
        raise NotAllowed(f"{command[0]} was refused ({' '.join(ran.stderr.split())}); it needs root")
