"""Tumour masks that come with a case, and segmentations and maps that go back to its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.image_files import image_geometry, is_image, read_grey, write_grey
from napari_breastseg.io.nifti import write_nifti
from napari_breastseg.io.nifti_file import open_nifti
from napari_breastseg.io.orientation import canonical_shape, same_grid


def read_mask(path: Path, case: Case) -> npt.NDArray[np.uint8]:
    """Read a tumour mask that lies on the grid of `case`.

    Parameters
    ----------
    path : Path
        NIfTI or image file with 0 for healthy tissue and one other value for tumour. A NIfTI file's axes may be stored in another order
        than the case's.
    case : Case

    Returns
    -------
    ndarray, shape (z, y, x), uint8
        0 and 1. It may be all 0; see :func:`require_foreground`.

    Raises
    ------
    InputError
        If the file cannot be read, has several volumes, lies on another grid, or holds more than two values.
    """
    return read_mask_on(path, case.geometry, case.name)


def read_mask_on(path: Path, geometry: Geometry, name: str) -> npt.NDArray[np.uint8]:
    """Read a tumour mask that lies on the grid `geometry` of the case `name`, as :func:`read_mask` does."""
    path = Path(path).expanduser()
    place, volume = _read_image_mask(path, geometry) if is_image(path) else _read_nifti_mask(path)
    if not same_grid(place, geometry):
        ours, theirs = canonical_shape(place), canonical_shape(geometry)
        differ = f"{ours} and {theirs} voxels (z, y, x)" if ours != theirs else "position or voxel size differs"
        raise InputError(f"{path} is not on the grid of {name}: {differ}. Resample the mask to the image.")
    values = np.unique(volume)
    if len(values) > 2 or not np.isfinite(values).all() or (values < 0).any() or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise InputError(f"{path} holds the values {shown}. Give a mask with 0 outside of what is marked and one other value inside.")
    return (volume > 0).astype(np.uint8)


def _read_nifti_mask(path: Path) -> tuple[Geometry, npt.NDArray[np.number]]:
    file = open_nifti(path)
    if file.volumes > 1:
        raise InputError(f"{path} holds {file.volumes} volumes. Give a mask of one volume.")
    return file.geometry, file.volume()


def _read_image_mask(path: Path, geometry: Geometry) -> tuple[Geometry, npt.NDArray[np.number]]:
    """Read a mask that has the scale of the case's image unless a sidecar of its own tells another."""
    return image_geometry(path, geometry), read_grey(path)


def require_foreground(mask: npt.NDArray[np.uint8], path: Path) -> None:
    """Refuse a mask without tumour, for work that needs one.

    Raises
    ------
    InputError
        If no voxel is tumour.
    """
    if not (mask == 1).any():
        raise InputError(f"{path} contains no tumour voxel. Give a mask in which the tumour is drawn.")


def write_mask(mask: npt.NDArray[np.integer] | npt.NDArray[np.bool_], geometry: Geometry, path: Path) -> None:
    """Write a segmentation to the grid of the file that its case came from.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Integers from 0 to 255, or booleans.
    geometry : Geometry
        Of the case.
    path : Path
        Ends in ``.nii.gz`` or ``.nii``, or in ``.png`` for a single image: 0, and 255 where the mask is not 0. A file of that name is
        replaced only by a complete new one.

    Raises
    ------
    InputError
        If the mask is not on the case's grid, or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".png" and mask.shape == canonical_shape(geometry) and len(mask) == 1:
        write_grey(255 * (np.asarray(mask[0]) != 0), path)
    else:
        write_nifti(mask, geometry, path)


def write_map(values: npt.NDArray[np.floating], geometry: Geometry, path: Path) -> None:
    """Write a map of real numbers, as float32, to the grid of the file that its case came from.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
    geometry : Geometry
        Of the case.
    path : Path
        Ends in ``.nii.gz`` or ``.nii``. A file of that name is replaced only by a complete new one.

    Raises
    ------
    InputError
        If the map is not on the case's grid, or the file cannot be written.
    """
    write_nifti(values, geometry, Path(path).expanduser(), np.float32)
