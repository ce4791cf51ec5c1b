"""A folder of many cases, without truth: what is there is found by names alone, and read one case at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_breastseg.case import Case, Modality
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case
from napari_breastseg.io.cohort import MAP
from napari_breastseg.io.image_files import is_image
from napari_breastseg.io.nifti import case_name, is_phase, nifti_files, phases_by_case, read_phases
from napari_breastseg.io.sidecars import kind_beside, times_beside

TRUTH = ("segmentations", "labels", "masks")
"""Beginnings of the names of folders that hold truth and no images: MAMA-MIA's, nnU-Net's (``labelsTr``), and those of image files."""
MASK = re.compile(r"mask|tumou?r|segment|(?<![a-z])seg(?![a-z])")
"""What the names of masks contain, in small letters; "seg" as a word, as it begins names of people."""


@dataclass(frozen=True)
class ListedCase:
    """One examination on disk.

    Attributes
    ----------
    name : str
        Within its listing no other case has it, in small letters or in capitals. Good as the name of a file.
    files : tuple of Path
        One per phase, or the one that holds everything.
    """

    name: str
    files: tuple[Path, ...]

    @property
    def place(self) -> Path | None:
        """What :func:`~napari_breastseg.io.read_case` reads the case from: its one file or folder; None if others lie there, too."""
        first = self.files[0]
        if not is_phase(first):
            return first
        return first.parent if len(phases_by_case(nifti_files(first.parent))) == 1 else None

    def read(self, times: tuple[float, ...] = ()) -> Case:
        """Read the case, with the times of its phases as :meth:`times` gave them where they were beside the images.

        Raises
        ------
        InputError
            If :func:`~napari_breastseg.io.read_case` refuses the files, or a phase is missing.
        """
        case = read_phases(self.files) if is_phase(self.files[0]) else read_case(self.files[0])
        return replace(case, name=self.name, times=times if times and case.phases > 1 else case.times)

    def times(self) -> tuple[float, ...]:
        """Return the seconds of each phase from a JSON file beside the images; empty if there is none.

        Raises
        ------
        InputError
            If that file cannot be understood.
        """
        first = self.files[0]
        return () if is_image(first) else times_beside(first.parent, case_name(first))

    def modality(self) -> Modality:
        """Return what kind of examination it is, by its files' names and, of an image, a sidecar.

        Raises
        ------
        InputError
            If the sidecar cannot be understood.
        """
        first = self.files[0]
        return kind_beside(first.parent, first.stem) if is_image(first) else "dce-mri"

    def fingerprint(self) -> dict[str, list[int]]:
        """Return size and time of the last change, in ns, of every file: what tells that it is no longer the one that it was.

        Raises
        ------
        InputError
            If a file is gone.
        """
        try:
            stats = {file.name: file.stat() for file in self.files}
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read ({error.strerror}). Check that the drive is still there.") from error
        return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


@dataclass(frozen=True)
class Listing:
    """What was found in a folder.

    Attributes
    ----------
    cases : list of ListedCase
        In the order of their places.
    left_out : list of Path
        What was not taken for cases: masks, pictures among NIfTI files, and folders of truth.
    """

    cases: list[ListedCase]
    left_out: list[Path]


def is_cohort(path: Path) -> bool:
    """Tell whether `path` is a folder that holds anything but one case.

    One case is what :func:`~napari_breastseg.io.read_case` takes for one: the phases of one case lie in the folder itself, or a single
    NIfTI file does.
    """
    if not path.is_dir():
        return False
    files = nifti_files(path)
    return len(phases_by_case(files)) != 1 and len(files) != 1


def list_cases(folder: Path) -> Listing:
    """Find every case in `folder` and below it; no image is read.

    A case is the phases of one name (``<case>_0000.nii.gz``, ...), in a folder of their own or beside those of other cases, as nnU-Net
    has them; or, in a folder without phases, every NIfTI file that is no mask. It has the name of its folder if it is alone there, else
    that of its files; if two cases had the same name, that of all folders on the way. Where there is no NIfTI file at all, image files
    are cases. Hidden folders and those of truth (``TRUTH``) are not looked into.

    Raises
    ------
    InputError
        If there is no case, or two cannot be told apart by their names.
    """
    found: list[tuple[Path, ListedCase]] = []
    left_out: list[Path] = []
    pictures: list[Path] = []
    for place in _folders(folder, set(), left_out):
        groups = _groups(place, left_out)
        for name, files in groups:
            alone = len(groups) == 1 and place != folder
            found.append((place.parent if alone else place, ListedCase(place.name if alone else name, tuple(files))))
        pictures += sorted(file for file in place.iterdir() if is_image(file))
    if found:
        left_out += pictures
    else:
        left_out += [picture for picture in pictures if _is_mask(picture)]
        found = [(picture.parent, ListedCase(picture.stem, (picture,))) for picture in pictures if not _is_mask(picture)]
    if not found:
        masks = f" but {len(left_out)} named like those of masks" if left_out else ""
        raise InputError(
            f"{folder} holds no examinations{masks}, so there is nothing that can be read. "
            "Give a folder with a folder of NIfTI phases per case, with NIfTI files, or with images."
        )
    return Listing(_told_apart(folder, found), left_out)


def _folders(folder: Path, seen: set[Path], left_out: list[Path]) -> Iterator[Path]:
    """Return `folder` and those below it, each once: links are followed, but not round in circles. Add those of truth to `left_out`."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    yield folder
    for inside in sorted(folder.iterdir()):
        if not inside.is_dir() or inside.name.startswith("."):
            continue
        if inside.name.lower().startswith(TRUTH):
            left_out.append(inside)
        else:
            yield from _folders(inside, seen, left_out)


def _groups(place: Path, left_out: list[Path]) -> list[tuple[str, list[Path]]]:
    """Return the cases whose NIfTI files lie in a folder itself, with these; add what is no case to `left_out`."""
    files = nifti_files(place)
    phases = phases_by_case(files)
    if phases:
        left_out += [file for file in files if not is_phase(file)]
        return list(phases.items())
    left_out += [file for file in files if _is_mask(file)]
    return [(case_name(file), [file]) for file in files if not _is_mask(file)]


def _is_mask(file: Path) -> bool:
    name = file.name.lower()
    return bool(MASK.search(name) or MAP.search(name))


def _told_apart(folder: Path, found: list[tuple[Path, ListedCase]]) -> list[ListedCase]:
    taken = Counter(case.name.casefold() for _, case in found)
    cases = [
        case if taken[case.name.casefold()] == 1 else replace(case, name="_".join((*place.relative_to(folder).parts, case.name)))
        for place, case in found
    ]
    known: dict[str, ListedCase] = {}
    for case in cases:
        other = known.setdefault(case.name.casefold(), case)
        if other is not case:
            raise InputError(f"{other.files[0]} and {case.files[0]} have the same name. Rename one of them.")
    return cases
