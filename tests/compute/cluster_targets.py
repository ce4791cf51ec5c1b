"""Small jobs that the tests run on a worker of a Dask cluster; what they leave tells the tests what happened there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from napari_breastseg.progress import Job, Progress


@dataclass(frozen=True)
class Pair:
    name: str
    left: Path
    right: Path


class Named(NamedTuple):
    path: Path


def read_all(pair: Pair, listed: list[Path], named: Named, keyed: dict[str, Path]) -> Job[dict[str, bytes]]:
    """Return the content of every file, under where it came from."""
    yield Progress(1, 1, "reading")
    found = {"left": pair.left, "right": pair.right, "named": named.path, **keyed} | {f"listed {i}": path for i, path in enumerate(listed)}
    return {where: path.read_bytes() for where, path in found.items()}


def facts(model: Path) -> Job[tuple[str, str, Path, list[str]]]:
    """Tell where the model lies, what its card says, and what else is beside it."""
    yield Progress(1, 1, "looking")
    return str(model), model.with_suffix(".json").read_text(), model, sorted(path.name for path in model.parent.iterdir())


def write(folder: Path, megabytes: int = 0) -> Job[Path]:
    """Continue what is in the folder: change one file, add two, remove what was only for the meantime."""
    (folder / "state").write_text((folder / "state").read_text() + " and more")
    (folder / "for now").write_text("gone at the end")
    yield Progress(1, 2, "writing")
    (folder / "for now").unlink()
    (folder / "deeper").mkdir()
    (folder / "deeper" / "new").write_text("new")
    (folder / "big").write_bytes(os.urandom(1 << 20) * megabytes)
    yield Progress(2, 2, "written")
    return folder / "deeper" / "new"


def write_and_wait(folder: Path) -> Job[None]:
    (folder / "state").write_text("step 20")
    while True:
        yield Progress(1, 2, "waiting")
        time.sleep(0.05)


def wait_and_tell(notes: str) -> Job[None]:
    """Leave ``pid`` and ``here`` (a file of the worker's folder) at the start and ``tidy`` when closed. A str, unlike a Path, stays one."""
    Path(notes, "pid").write_text(str(os.getpid()))
    try:
        while True:
            yield Progress(1, 9, "waiting")
            time.sleep(0.05)
    finally:
        Path(notes, "tidy").touch()


def silent(seconds: float) -> Job[str]:
    yield Progress(1, 2, "thinking")
    time.sleep(seconds)
    return "thought"


def numbered(n: int) -> Job[int]:
    for i in range(n):
        yield Progress(i, n, "counting", payload={"i": i})
    return n


def threads() -> Job[int]:
    """Return how many threads the numerics of a job have."""
    import torch

    yield Progress(1, 1, "counting")
    return torch.get_num_threads()
