"""Folders of cases with truth: found at once, read one at a time, so that a cohort need not fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask

MASKS = ("*mask*.nii*", "*tumour*.nii*", "*tumor*.nii*", "*seg*.nii*")
"""Names by which the truth is found beside the phases of a case."""
IMAGES, EXPERT = "images", Path("segmentations") / "expert"
"""Where MAMA-MIA keeps the phases (a folder per patient) and the experts' masks (a file per patient)."""


@dataclass(frozen=True)
class LabelledCase:
    """One examination with truth, on disk.

    Attributes
    ----------
    name : str
        Of the case's folder, which stands for one patient.
    images, mask : Path
        The folder with the phases, and the mask's file.
    """

    name: str
    images: Path
    mask: Path

    def read(self) -> tuple[Case, npt.NDArray[np.uint8]]:
        """Read the case and its truth, shape (z, y, x), 0 and 1.

        Raises
        ------
        InputError
            If :func:`~napari_breastseg.io.read_case` or :func:`~napari_breastseg.io.read_mask` refuses them.
        """
        case = read_case(self.images)
        return case, read_mask(self.mask, case)


def find_cases(folder: Path) -> list[LabelledCase]:
    """Find every case below `folder`, in the order of the names; no image is read.

    Two layouts are known: one folder per case, with its phases and one file named like one of ``MASKS``; and that of MAMA-MIA,
    ``images/DUKE_001/duke_001_0000.nii.gz`` with ``segmentations/expert/duke_001.nii.gz``.

    Raises
    ------
    InputError
        If there is no case, or one has not exactly one mask.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give a folder with one folder per case.")
    mama_mia = (folder / IMAGES).is_dir() and (folder / EXPERT.parts[0]).is_dir()
    places = sorted(path for path in (folder / IMAGES if mama_mia else folder).iterdir() if path.is_dir())
    if not places:
        raise InputError(f"{folder} holds no folders of cases. Give a folder with one folder per case.")
    return [LabelledCase(place.name, place, _expert_mask(folder, place) if mama_mia else _mask_beside(place)) for place in places]


def _mask_beside(place: Path) -> Path:
    masks = sorted({mask for pattern in MASKS for mask in place.glob(pattern)})
    if len(masks) != 1:
        raise InputError(f"{place} holds {len(masks)} masks. Give each case one file named like one of: {', '.join(MASKS)}.")
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
