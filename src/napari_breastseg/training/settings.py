"""The settings of a run, kept in its folder: it goes on with the same ones only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, which JSON can hold, into a new run's folder.

    Raises
    ------
    InputError
        If the folder holds a run with other settings; the message says which.
    """
    path, asked = folder / "settings.json", json.loads(json.dumps(settings))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(settings, indent=1).encode())
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    other = [_difference(key, kept.get(key), asked.get(key)) for key in {**kept, **asked} if not _same(kept.get(key), asked.get(key))]
    if other:
        raise InputError(
            f"{folder} was begun with other settings or data ({'; '.join(other)}). Give the same to go on, or choose another folder."
        )


def _same(there: Any, now: Any) -> bool:
    """Tell whether two settings are the same; one that was not known yet is so if it is left out now."""
    if isinstance(there, dict) and isinstance(now, dict):
        return all(_same(there.get(name), now.get(name)) for name in {**there, **now})
    return there == now or (there is None and not now)


def _difference(key: str, there: Any, now: Any) -> str:
    if not isinstance(there, dict) or not isinstance(now, dict):
        return f"{key} {there} there, {now} now"
    names = [name for name in sorted({**there, **now}) if there.get(name) != now.get(name)]
    return f"{key}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
