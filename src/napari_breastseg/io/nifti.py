"""NIfTI series to cases, and masks back to NIfTI on the grid that the case came from."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.nifti_file import NiftiFile, is_nifti_name, open_nifti, stem
from napari_breastseg.io.orientation import canonical_shape, from_canonical, same_grid
from napari_breastseg.io.sidecars import times_beside

_PHASE = re.compile(r"(?P<case>.+)_(?P<phase>\d{4})")
"""A phase's file name as nnU-Net and MAMA-MIA write it: ``<case>_0000`` is the first phase."""


def is_nifti(path: Path) -> bool:
    """Tell whether `path` is a NIfTI file or a folder that holds one."""
    if path.is_dir():
        return any(is_nifti_name(file) for file in path.iterdir())
    return is_nifti_name(path)


def is_phase(path: Path) -> bool:
    """Tell whether a file is named as a phase is."""
    return is_nifti_name(path) and _PHASE.fullmatch(stem(path)) is not None


def read_geometry(path: Path) -> Geometry:
    """Read from the headers alone where the voxels of a case lie, which :func:`read_nifti` would read from `path`.

    Raises
    ------
    InputError
        If phases are missing, cannot be opened, or lie on different grids.
    """
    return _open(path)[1][0].geometry


def _open(path: Path) -> tuple[str, list[NiftiFile]]:
    """Return the case's name and its opened files, whose headers agree."""
    name, paths = series(path) if path.is_dir() else (case_name(path), [path])
    return name, _opened(paths)


def _opened(paths: Sequence[Path]) -> list[NiftiFile]:
    files = [open_nifti(file) for file in paths]
    if len(files) > 1:
        _check_phases_agree(files)
    return files


def read_nifti(path: Path, times: Sequence[float] | None = None) -> Case:
    """Read a 3-D or 4-D NIfTI file, or a folder with one file per phase (``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...).

    A folder with phases may also hold masks and labels, named without the four digits; they are left alone. A folder without phases
    must hold exactly one NIfTI file.

    Parameters
    ----------
    path : Path
    times : sequence of float, optional
        Seconds of each phase. Without them a JSON sidecar is looked for, see :func:`napari_breastseg.io.sidecars.times_beside`.

    Raises
    ------
    InputError
        If phases are missing, empty, of different grids, or hold voxels that are no numbers; if the folder holds several cases; if the
        times do not fit; and whatever :func:`napari_breastseg.io.nifti_file.open_nifti` refuses.
    """
    return _case(*_open(path), times)


def read_phases(paths: Sequence[Path], times: Sequence[float] | None = None) -> Case:
    """Read one case from the files of its phases, which may lie among those of other cases; see :func:`read_nifti`."""
    name = case_name(paths[0])
    return _case(name, _opened(in_order(name, paths)), times)


def _case(name: str, files: list[NiftiFile], times: Sequence[float] | None) -> Case:
    images = _load(files)
    if times is None:
        times = times_beside(files[0].path.parent, name) if len(images) > 1 else ()
    return Case(
        name=name,
        images=images,
        geometry=files[0].geometry,
        times=tuple(float(t) for t in times),
        modality="dce-mri" if len(images) > 1 else "mri",
        metadata=MappingProxyType(
            {
                "files": tuple(file.path.name for file in files),
                "orientation_stated": files[0].stated_orientation,
                "identifiers_dropped": tuple(dict.fromkeys(name for file in files for name in file.left_behind)),
            }
        ),
    )


def write_nifti(array_zyx: npt.NDArray[Any], geometry: Geometry, path: Path, dtype: npt.DTypeLike = np.uint8) -> None:
    """Write a mask or a map as NIfTI on the file grid of its case, atomically.

    Parameters
    ----------
    array_zyx : ndarray, shape (z, y, x)
        Integers from 0 to 255, or booleans; anything that fits into `dtype` if another is given.
    geometry : Geometry
        Of the case: its original affine and shape are restored.
    path : Path
        ``.nii`` or ``.nii.gz``, in a folder that exists. A file of that name is replaced only by a complete new one.
    dtype : dtype
        As stored.

    Raises
    ------
    InputError
        If the name is no NIfTI name, the array is not on the case's grid, or the file cannot be written.
    """
    if not is_nifti_name(path):
        raise InputError(f"{path} is no name for a NIfTI file. End it in .nii.gz or .nii.")
    if array_zyx.shape != canonical_shape(geometry):
        ours, theirs = array_zyx.shape, canonical_shape(geometry)
        raise InputError(f"The array for {path.name} has the shape {ours}, its case {theirs} (z, y, x). Write it with its own case.")
    image = nib.Nifti1Image(np.ascontiguousarray(from_canonical(array_zyx, geometry), dtype=dtype), geometry.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(geometry.affine, code="scanner")
    image.set_qform(geometry.affine, code="scanner", strip_shears=True)
    if not np.allclose(image.get_qform(), geometry.affine, atol=1e-3):  # a sheared grid, which a quaternion cannot say
        image.set_qform(None, code="unknown")
    content = image.to_bytes()
    write_atomically(path, gzip.compress(content, compresslevel=6, mtime=0) if path.name.lower().endswith(".gz") else content)


def case_name(path: Path) -> str:
    """Return the name of the case that a file belongs to: the file's own without the four digits of a phase."""
    phase = _PHASE.fullmatch(stem(path))
    return phase["case"] if phase else stem(path)


def series(folder: Path) -> tuple[str, list[Path]]:
    """Return the name of the case in a folder and its phase files in order.

    Raises
    ------
    InputError
        If phases are missing or there are those of several cases.
    """
    files = nifti_files(folder)
    cases = phases_by_case(files)
    if not cases:
        if len(files) == 1:
            return stem(files[0]), files
        names = ", ".join(file.name for file in files) or "no NIfTI file"
        raise InputError(f"{folder} holds {names}, but no phases named <case>_0000.nii.gz. Name one file, or name the phases so.")
    if len(cases) > 1:
        raise InputError(f"{folder} holds several cases ({', '.join(cases)}). Give each case a folder of its own.")
    ((case, phases),) = cases.items()
    return case, in_order(case, phases)


def nifti_files(folder: Path) -> list[Path]:
    """Return the NIfTI files that lie in a folder itself, by name."""
    return sorted(file for file in folder.iterdir() if is_nifti_name(file))


def phases_by_case(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return those files that are named as phases are, by the case that they belong to."""
    cases: dict[str, list[Path]] = {}
    for file in files:
        if is_phase(file):
            cases.setdefault(case_name(file), []).append(file)
    return cases


def in_order(case: str, files: Sequence[Path]) -> list[Path]:
    """Return the files of a case's phases, first phase first.

    Raises
    ------
    InputError
        If a phase is missing or there twice.
    """
    folder, phases = files[0].parent, dict[int, Path]()
    for file in files:
        phase = int(stem(file)[-4:])
        known = phases.setdefault(phase, file)
        if known is not file:
            raise InputError(f"{folder} holds phase {phase:04d} twice: {known.name} and {file.name}. Remove one of them.")
    for index in range(max(phases) + 1):
        if index not in phases:
            name = f"{case}_{index:04d}.nii.gz"
            raise InputError(f"Phase {index:04d} of {case} is missing in {folder}. Add {name}, or number the phases anew.")
    return [phases[index] for index in sorted(phases)]


def _check_phases_agree(files: list[NiftiFile]) -> None:
    first = files[0]
    for file in files:
        if file.volumes > 1:
            raise InputError(f"{file.path} holds {file.volumes} volumes among files of one phase each. Give it alone, or split it.")
        if file.geometry.original_shape != first.geometry.original_shape:
            raise InputError(
                f"The phases differ in shape: {first.path.name} is {first.geometry.original_shape}, {file.path.name} is "
                f"{file.geometry.original_shape} (x, y, z). Resample them to one grid."
            )
        if not same_grid(first.geometry, file.geometry):
            raise InputError(f"{first.path.name} and {file.path.name} lie on different grids (affine). Resample them to one grid.")


def _load(files: list[NiftiFile]) -> npt.NDArray[np.float32]:
    """Read all phases, shape (phase, z, y, x)."""
    volumes = [(file, index) for file in files for index in range(file.volumes)]
    shape = (len(volumes), *canonical_shape(files[0].geometry))
    try:
        images = np.empty(shape, dtype=np.float32)
    except MemoryError as error:
        gib = 4 * np.prod(shape, dtype=np.float64) / 2**30
        raise InputError(f"{files[0].path} needs {gib:.1f} GiB of memory. Crop it or read it on a larger machine.") from error
    for phase, (file, index) in enumerate(volumes):
        images[phase] = file.volume(index)
        check_voxels(images[phase], f"Phase {phase} of {file.path}" if len(volumes) > 1 else str(file.path))
    return images


def check_voxels(volume: npt.NDArray[np.float32], what: str) -> None:
    """Refuse a volume that is constant or holds voxels that are no number; `what` names it in the message."""
    bad = volume.size - int(np.count_nonzero(np.isfinite(volume)))
    if bad:
        raise InputError(f"{what} has {bad} voxel(s) that are no number (NaN or infinite). Export it again, or replace them.")
    lowest, highest = float(volume.min()), float(volume.max())
    if lowest == highest:
        raise InputError(f"{what} is empty: every voxel is {lowest:g}. Export it again.")
