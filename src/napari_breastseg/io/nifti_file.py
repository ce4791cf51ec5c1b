"""One NIfTI file: its voxels and where they lie, or one sentence about what is wrong with it.

Only the voxels and the affine are taken. Descriptions, comments and extensions of the header can name the patient and stay behind.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_breastseg.case import Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.orientation import to_canonical

SUFFIXES = (".nii", ".nii.gz")

_MAGIC = {348: (nib.Nifti1Image, 344, b"n+1\0"), 540: (nib.Nifti2Image, 4, b"n+2\0")}
"""Header size, which both versions of the format begin with, to class, place and value of the magic string."""

_FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
_EXTENSIONS = {2: "DICOM", 4: "AFNI", 6: "comment", 8: "XCEDE", 10: "JIMDIM", 44: "MRS"}

_UNIT_UNKNOWN, _UNIT_MM, _OTHER_UNITS = 0, 2, {1: "metres", 3: "micrometres"}
"""Codes of the header's unit of length."""


def is_nifti_name(path: Path) -> bool:
    """Tell whether a file's name says NIfTI; hidden files (such as macOS's ``._`` companions) do not count."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """File name without ``.nii.gz``, ``.nii`` or another ending."""
    return Path(path.stem if path.name.lower().endswith(".gz") else path.name).stem


@dataclass(frozen=True)
class NiftiFile:
    """An opened NIfTI file of one or more volumes.

    Parameters
    ----------
    path : Path
    geometry : Geometry
        Common to all volumes.
    volumes : int
        Length of the fourth axis (phases); 1 for a single volume.
    stated_orientation : bool
        False if the header says only how large voxels are, not how they lie in the patient.
    left_behind : tuple of str
        Names of the fields of the header that hold free text, and of its extensions, which may name the patient. They are not read.
    """

    path: Path
    geometry: Geometry
    volumes: int
    stated_orientation: bool
    left_behind: tuple[str, ...]
    _stored: Any

    def volume(self, index: int = 0) -> npt.NDArray[np.float32]:
        """Return one volume in canonical order, shape (z, y, x), float32, with the file's scaling applied."""
        values = np.asarray(self._stored[..., index], dtype=np.float32)
        return to_canonical(values, self.geometry.affine)[0]


def open_nifti(path: Path) -> NiftiFile:
    """Open a ``.nii`` or ``.nii.gz`` file and check that its header can be trusted.

    Raises
    ------
    InputError
        If the file is missing, cut short, no NIfTI image, has colours or complex numbers, more than four dimensions, or a header whose
        voxel sizes are zero, negative, contradictory or not in millimetres.
    """
    content = _content(path)
    kind = _kind(path, content)
    try:
        _check_spacing(path, kind.header_class.from_fileobj(io.BytesIO(content), check=False))
        image = kind.from_bytes(content)
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError, OSError) as error:
        raise InputError(f"The header of {path} is damaged ({_one_line(error)}). Export the image again.") from error
    _check_meaning(path, image)
    shape = _four_dimensions(path, image.shape)
    if len(content) < image.dataobj.offset + math.prod(shape) * image.get_data_dtype().itemsize:
        raise InputError(f"{path} is cut short: voxels are missing at its end. Copy or export the file again.")
    try:
        geometry = to_canonical(np.broadcast_to(np.False_, shape[:3]), image.affine)[1]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    stated = bool(image.header["sform_code"] > 0 or image.header["qform_code"] > 0)
    return NiftiFile(path, geometry, shape[3], stated, _left_behind(image.header), image.dataobj.reshape(shape))


def _left_behind(header: Any) -> tuple[str, ...]:
    fields = [name for name in _FREE_TEXT if name in header and bytes(header[name]).strip(b"\0 ")]
    kinds = {_EXTENSIONS.get(extension.get_code(), f"kind {extension.get_code()}") for extension in header.extensions}
    return (*fields, *(f"extension {kind}" for kind in sorted(kinds)))


def _content(path: Path) -> bytes:
    """Return the whole file, unpacked: only then is a gzip file's checksum looked at."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}). Check the name and the permissions.") from error
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error, struct.error) as error:
        raise InputError(f"{path} is cut short or damaged ({_one_line(error)}). Copy or export the file again.") from error


def _kind(path: Path, content: bytes) -> Any:
    for size, (kind, place, magic) in _MAGIC.items():
        if content[:4] in (struct.pack("<i", size), struct.pack(">i", size)) and content[place : place + len(magic)] == magic:
            return kind
    raise InputError(f"{path} is no NIfTI image. Give a .nii or .nii.gz file that holds header and voxels together.")


def _check_spacing(path: Path, raw: Any) -> None:
    """Refuse voxel sizes that nibabel would silently mend: they decide about millilitres."""
    sizes = [float(size) for size in raw["pixdim"][1 : 1 + _spatial(int(raw["dim"][0]))]]
    if not all(np.isfinite(size) and size > 0 for size in sizes):
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise InputError(f"{path}: the voxel spacing {shown} mm in the header is not positive. Correct the file's header.")


def _check_meaning(path: Path, image: Any) -> None:
    """Refuse lengths and values that would be taken for something else."""
    unit = int(image.header["xyzt_units"]) & 7
    if unit not in (_UNIT_UNKNOWN, _UNIT_MM):
        raise InputError(f"{path} gives lengths in {_OTHER_UNITS.get(unit, 'a unit that is not known')}. Convert it to millimetres.")
    if image.get_data_dtype().kind not in "iuf":
        raise InputError(f"{path} holds {image.get_data_dtype()} values. Give one grey value for each voxel.")
    axes = _spatial(len(image.shape))
    stated, meant = np.array(image.header.get_zooms()[:axes]), voxel_sizes(image.affine)[:axes]
    if (meant > 0).all() and not np.allclose(meant, stated, rtol=0.01):
        shown = " and ".join(" x ".join(f"{size:g}" for size in sizes) for sizes in (stated, meant))
        raise InputError(f"{path}: the header gives two voxel sizes, {shown} mm. Correct the file's header.")


def _spatial(dimensions: int) -> int:
    return max(min(dimensions, 3), 1)


def _four_dimensions(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    dims = list(shape)
    while len(dims) > 4 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 4 or len(dims) < 2 or min(dims) < 1:
        raise InputError(f"{path} has the shape {shape}. Give (x, y, z) for one phase or (x, y, z, phase) for a series.")
    i, j, k, volumes = (*dims, 1, 1)[:4]
    return i, j, k, volumes


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
