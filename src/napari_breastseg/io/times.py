"""When the phases of an examination were taken: a JSON file beside the images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_breastseg.errors import InputError

KEYS = ("times", "acquisition_times", "seconds_since_first_post")
"""Where a sidecar may hold the list of seconds, one number a phase, on any clock."""


def times_beside(folder: Path, case: str) -> tuple[float, ...]:
    """Return the phase times in seconds from the first sidecar that holds any; empty if none does.

    Looked at in this order, in `folder` and then in the folder above it: ``<case>.json``, ``times.json``, ``meta.json``.

    Raises
    ------
    InputError
        If a sidecar is no JSON, or its times are no list of numbers.
    """
    for sidecar in _sidecars(folder, case):
        try:
            content = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{sidecar} is no readable JSON ({error}). Correct or remove it, or give the phase times yourself.") from error
        found = content if isinstance(content, list) else _first_of(content)
        if found is not None:
            return _seconds(found, sidecar)
    return ()


def _sidecars(folder: Path, case: str) -> Iterator[Path]:
    for place in (folder, folder.parent):
        for name in (f"{case}.json", "times.json", "meta.json"):
            if (place / name).is_file():
                yield place / name


def _first_of(content: Any) -> Any:
    if not isinstance(content, dict):
        return None
    return next((content[key] for key in KEYS if key in content), None)


def _seconds(found: Any, sidecar: Path) -> tuple[float, ...]:
    numbers = isinstance(found, list) and all(isinstance(t, int | float) and not isinstance(t, bool) and math.isfinite(t) for t in found)
    if not numbers:
        raise InputError(f"The phase times in {sidecar} are no list of numbers. Give seconds, one number for each phase.")
    return tuple(float(t) for t in found)
