"""Training cases on a model's working grid, kept on disk: a cohort need not fit in memory, and runs that see the same may share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods.preset import Preset
from napari_breastseg.training.sampling import Volume, make_volume

Labels = npt.NDArray[np.uint8]
CENTRES = "centres.npz"
TUMOURS = "labels"
"""Name of the file that holds where the tumours are."""


class Source(Protocol):
    """One case with truth: an examination on disk or a phantom."""

    @property
    def name(self) -> str:
        """Name of a folder, one for each case."""

    @property
    def group(self) -> str:
        """What it is one of many of, such as images of benign lesions."""

    def read(self) -> tuple[Case, Labels]:
        """Return the case and its truth, shape (z, y, x)."""


@dataclass(frozen=True)
class PhantomSource:
    """A synthetic case of a method's domain."""

    make: Callable[[int, tuple[int, int, int]], tuple[Case, Labels]]
    seed: int
    shape: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Name of a folder."""
        return f"phantom-{self.seed}-{'x'.join(map(str, self.shape))}"

    @property
    def group(self) -> str:
        """All phantoms are of one group."""
        return "phantoms"

    def read(self) -> tuple[Case, Labels]:
        """Make the phantom."""
        return self.make(self.seed, self.shape)


def prepare(source: Source, preset: Preset, folder: Path) -> Path:
    """Bring a case to the working grid, unless it was done before, and return its place in `folder`."""
    place = folder / source.name
    if not (place / CENTRES).is_file():
        keep(make_volume(*source.read(), preset), place)
    return place


def keep(volume: Volume, place: Path) -> None:
    """Write a volume; its last file, without which it counts as not written, is `CENTRES`."""
    place.mkdir(parents=True, exist_ok=True)
    save_array(place / "channels.npy", volume.channels)
    save_array(place / f"{TUMOURS}.npy", volume.labels)
    write_atomically(place / CENTRES, _content(np.savez, clock=np.array(volume.clock), **volume.centres))


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array so that a crash leaves all of it behind or nothing."""
    write_atomically(path, _content(np.save, array))


def mapped(place: Path, labels: str = TUMOURS) -> Volume:
    """Map a prepared case from its files, which are open only as long as the volume is used: a cohort has more than a process may open.

    Parameters
    ----------
    place : Path
    labels : str
        Name of the file that holds what is to be learned.
    """
    with np.load(place / CENTRES, allow_pickle=False) as stored:
        channels, wanted = (np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("channels", labels))
        points = dict(stored)
    return Volume(channels, wanted, points, tuple(map(float, points.pop("clock", ()))))


def _content(save: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    buffer = BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()
