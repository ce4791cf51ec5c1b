"""Files to cases, and results to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.image_files import image_geometry, is_image, read_image
from napari_breastseg.io.masks import read_mask, require_foreground, write_map, write_mask
from napari_breastseg.io.nifti import is_nifti, read_geometry, read_nifti

__all__ = ["read_case", "read_mask", "require_foreground", "write_map", "write_mask"]


@dataclass(frozen=True)
class Reader:
    """A file format: how it is recognised and read, and how it says where the voxels lie without reading them."""

    matches: Callable[[Path], bool]
    read: Callable[[Path, Sequence[float] | None], Case]
    geometry: Callable[[Path], Geometry]


READERS = {
    "NIfTI (.nii, .nii.gz)": Reader(is_nifti, read_nifti, read_geometry),
    "image (.png, .jpg, .tif)": Reader(is_image, read_image, image_geometry),
}
"""Every format that :func:`read_case` knows, in the order in which it asks them."""


def read_case(path: Path, times: Sequence[float] | None = None) -> Case:
    """Read one examination.

    Parameters
    ----------
    path : Path
        A file with all phases, or a folder with one file per phase.
    times : sequence of float, optional
        Seconds of each phase on any clock, increasing; taken from a JSON file beside the images if not given.

    Raises
    ------
    InputError
        If there is nothing at `path`, no reader knows it, or its reader refuses it; nothing is changed on disk.
    """
    path = Path(path).expanduser()
    return reader_of(path).read(path, times)


def reader_of(path: Path) -> Reader:
    """Return the reader that knows `path`.

    Raises
    ------
    InputError
        If there is nothing at `path` or no reader knows it.
    """
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the name.")
    for reader in READERS.values():
        if reader.matches(path):
            return reader
    what = "holds no image" if path.is_dir() else "is no image"
    raise InputError(
        f"{path} {what} that can be read. Give a file or a folder of one of these formats: {', '.join(READERS)}. "
        "DICOM files are not read: turn a series into NIfTI, with dcm2niix for instance, and export an image as PNG or TIFF."
    )
