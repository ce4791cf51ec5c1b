"""JSON files beside the images: when phases were taken, and what image files do not tell of scale and kind."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_breastseg.case import Modality
from napari_breastseg.errors import InputError

TIMES = ("times", "acquisition_times", "seconds_since_first_post")
"""Where a sidecar may hold the list of seconds, one number a phase, on any clock."""
SPACING, KIND = "PixelSpacing", "Modality"
"""DICOM's words for the size of a pixel, [row, column] in mm, and for what an image is."""
KINDS: dict[str, Modality] = {"US": "ultrasound", "MG": "mammography"}


def times_beside(folder: Path, case: str) -> tuple[float, ...]:
    """Return the phase times in seconds from the first sidecar that holds any; empty if none does.

    Looked at in this order, in `folder` and then in the folder above it: ``<case>.json``, ``times.json``, ``meta.json``.

    Raises
    ------
    InputError
        If a sidecar is no JSON, or its times are no list of numbers.
    """
    for sidecar in _sidecars(folder, case, "times.json", "meta.json"):
        content = _read(sidecar, ", or give the phase times yourself")
        found = content if isinstance(content, list) else _first_of(content)
        if found is not None:
            return _seconds(found, sidecar)
    return ()


def scale_beside(folder: Path, image: str) -> tuple[float, float] | None:
    """Return the size of an image's pixels (y, x) in mm from the first sidecar that tells it, None if none does.

    Looked at in this order, in `folder` and then in the folder above it: ``<image>.json``, and ``meta.json``, which stands for all images.

    Raises
    ------
    InputError
        If a sidecar is no JSON, or its spacing is no pair of positive numbers.
    """
    sidecar, found = _said(folder, image, SPACING)
    if sidecar is None:
        return None
    if not (isinstance(found, list) and len(found) == 2 and all(_is_number(size) and size > 0 for size in found)):
        raise InputError(f"{SPACING} in {sidecar} is no pair of positive numbers. Give height and width of a pixel in mm, or remove it.")
    return float(found[0]), float(found[1])


def kind_beside(folder: Path, image: str) -> Modality:
    """Return what an image is by the first sidecar that tells it, as :func:`scale_beside` looks for them; "image" if none does.

    Raises
    ------
    InputError
        If a sidecar is no JSON, or names a modality that is neither ultrasound nor mammography.
    """
    sidecar, found = _said(folder, image, KIND)
    if sidecar is None:
        return "image"
    if not isinstance(found, str) or found not in KINDS:
        raise InputError(f"{KIND} in {sidecar} is {found!r}. Give one of {', '.join(KINDS)}, or remove it.")
    return KINDS[found]


def _said(folder: Path, image: str, key: str) -> tuple[Path | None, Any]:
    for sidecar in _sidecars(folder, image, "meta.json"):
        content = _read(sidecar)
        if isinstance(content, dict) and key in content:
            return sidecar, content[key]
    return None, None


def _sidecars(folder: Path, case: str, *shared: str) -> Iterator[Path]:
    for place in (folder, folder.parent):
        for name in (f"{case}.json", *shared):
            if (place / name).is_file():
                yield place / name


def _read(sidecar: Path, instead: str = "") -> Any:
    try:
        return json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{sidecar} is no readable JSON ({error}). Correct or remove it{instead}.") from error


def _first_of(content: Any) -> Any:
    if not isinstance(content, dict):
        return None
    return next((content[key] for key in TIMES if key in content), None)


def _seconds(found: Any, sidecar: Path) -> tuple[float, ...]:
    if not (isinstance(found, list) and all(_is_number(t) for t in found)):
        raise InputError(f"The phase times in {sidecar} are no list of numbers. Give seconds, one number for each phase.")
    return tuple(float(t) for t in found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
