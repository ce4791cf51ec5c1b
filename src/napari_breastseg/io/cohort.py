"""Folders of cases with truth: found at once, read one at a time, so that a cohort need not fit in memory."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask, reader_of
from napari_breastseg.io.image_files import is_image
from napari_breastseg.io.masks import read_mask_on
from napari_breastseg.io.nifti import is_phase, series
from napari_breastseg.io.nifti_file import is_nifti_name

MASKS = ("mask", "tumour", "tumor", "seg")
"""What the name of the truth beside the phases of a case contains, in small letters or in capitals."""
MAP = re.compile(r"_frloss-|_uncertainty\.nii|_clusters-predicted\.nii|_sfeb-effect\.nii|_boundary-attention\.nii")
"""What the names of the maps contain that `predict` writes beside its mask, in small letters."""
IMAGES, EXPERT = "images", Path("segmentations") / "expert"
"""Where MAMA-MIA keeps the phases (a folder per patient) and the experts' masks (a file per patient)."""
PICTURED = "masks"
"""The folder beside `IMAGES` that holds a mask for each image file there."""


@dataclass(frozen=True)
class LabelledCase:
    """One examination with truth, on disk.

    Attributes
    ----------
    name : str
        Of the case's folder, which stands for one patient, or of its image file.
    images, mask : Path
        The folder with the phases or the image file, and the mask's file.
    group : str
        Folder that holds the images and masks of one of several groups, such as "benign"; empty if there are no groups.
    """

    name: str
    images: Path
    mask: Path
    group: str = ""

    def read(self) -> tuple[Case, npt.NDArray[np.uint8]]:
        """Read the case and its truth, shape (z, y, x), 0 and 1.

        Raises
        ------
        InputError
            If :func:`~napari_breastseg.io.read_case` or :func:`~napari_breastseg.io.read_mask` refuses them.
        """
        case = read_case(self.images)
        return case, read_mask(self.mask, case)

    def check(self) -> None:
        """Refuse what :meth:`read` would refuse, without reading the voxels of the phases.

        Raises
        ------
        InputError
            If phases are missing or lie on different grids, or the mask cannot be read or lies on another grid.
        """
        read_mask_on(self.mask, reader_of(self.images).geometry(self.images), self.name)

    def fingerprint(self) -> str:
        """Digest that changes with the mask and with the names and sizes of the phases, which are too large to be read for it."""
        digest = hashlib.sha256(self.mask.read_bytes())
        for file in series(self.images)[1] if self.images.is_dir() else [self.images]:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        return digest.hexdigest()


def find_cases(folder: Path) -> list[LabelledCase]:
    """Find every case below `folder`, in the order of the names; no image is read.

    Three layouts are known: one folder per case, with its phases and one file named like one of ``MASKS``; that of MAMA-MIA,
    ``images/DUKE_001/duke_001_0000.nii.gz`` with ``segmentations/expert/duke_001.nii.gz``; and that of image files, ``images/a.jpg`` with
    ``masks/a.png``, in `folder` or in folders within it.

    Raises
    ------
    InputError
        If there is no case, or one has not exactly one mask.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give a folder with one folder per case.")
    pictures = _pictures(folder)
    if pictures:
        return pictures
    mama_mia = (folder / IMAGES).is_dir() and (folder / EXPERT.parts[0]).is_dir()
    inside = folder / IMAGES if mama_mia else folder
    places = sorted(path for path in inside.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not places:
        raise InputError(
            f"{folder} holds no folders of cases. Give a folder with one folder per case; of images, one that holds the folders "
            f"{IMAGES} and {PICTURED}."
        )
    return [LabelledCase(place.name, place, _expert_mask(folder, place) if mama_mia else _mask_beside(place)) for place in places]


def _pictures(folder: Path) -> list[LabelledCase]:
    """Find the image files in folders called `IMAGES`, here or one level down, that have a folder `PICTURED` beside them."""
    places = [place for place in (folder, *sorted(folder.iterdir())) if (place / IMAGES).is_dir() and (place / PICTURED).is_dir()]
    found: dict[str, LabelledCase] = {}
    for image in (file for place in places for file in sorted((place / IMAGES).iterdir()) if is_image(file)):
        masks = [file for file in sorted((image.parent.parent / PICTURED).glob(f"{escape(image.stem)}.*")) if is_image(file)]
        if len(masks) != 1:
            raise InputError(
                f"{image} has {len(masks)} masks in {PICTURED}. Give it one PNG file of the same name, all 0 if it is healthy."
            )
        if image.stem in found:
            raise InputError(f"{found[image.stem].images} and {image} have the same name. Rename one of them.")
        place = image.parent.parent
        found[image.stem] = LabelledCase(image.stem, image, masks[0], "" if place == folder else place.name)
    return list(found.values())


def _mask_beside(place: Path) -> Path:
    files = sorted(path for path in place.iterdir() if is_nifti_name(path) and not is_phase(path))
    names = {path: path.name.lower() for path in files}
    masks = [path for path, name in names.items() if any(word in name for word in MASKS) and not MAP.search(name)]
    if len(masks) != 1:
        found = f"holds {len(masks)} masks" + (f" ({', '.join(path.name for path in masks)})" if masks else "")
        raise InputError(f"{place} {found}. Give each case one NIfTI file with {' or '.join(MASKS)} in its name, beside the phases.")
    return masks[0]


def _expert_mask(folder: Path, place: Path) -> Path:
    """Return the expert's mask of a MAMA-MIA patient: the folder is written in capitals, the file is not."""
    for name in (place.name, place.name.lower()):
        for suffix in (".nii.gz", ".nii"):
            path = folder / EXPERT / f"{name}{suffix}"
            if path.is_file():
                return path
    wanted = folder / EXPERT / f"{place.name.lower()}.nii.gz"
    raise InputError(f"{place.name} has no mask {wanted}. Add it, or take {place.name} out of {folder / IMAGES}.")
