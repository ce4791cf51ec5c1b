"""The command that trains from scratch, without its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_breastseg.case import Case
from napari_breastseg.cli.report import Report
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask

MASKS = ("*mask*.nii*", "*tumour*.nii*", "*tumor*.nii*", "*seg*.nii*")
"""Names by which the truth is found beside the phases of a case."""


def train_model(
    speaker: Report, method: str, out: Path, data: Path | None, start: str | None, resume: bool, device: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Train a preset, or go on with the run in `out`."""
    from napari_breastseg.methods import get_preset
    from napari_breastseg.methods.model import load_model
    from napari_breastseg.training.from_scratch import TrainConfig, train_from_scratch

    preset = get_preset(method)
    began = (out / "settings.json").is_file()
    if began and not resume:
        raise InputError(f"{out} holds a training run already. Add --resume to go on with it, or choose another folder.")
    if resume and not began:
        raise InputError(f"{out} holds no training run to resume. Leave --resume out to begin one.")
    parent = None if start is None else load_model(start)
    labelled = [] if data is None else [(case, truth) for case, truth in labelled_cases(data)]
    model = speaker.run(train_from_scratch(preset, TrainConfig(**settings), out, labelled, parent, device))
    return {"preset": preset.name, "model": str(model), "cases": len(labelled), **settings}


def labelled_cases(folder: Path) -> list[tuple[Case, Any]]:
    """Read every case below `folder`: one folder each, with its phases and one mask.

    Raises
    ------
    InputError
        If there is no case, or one has not exactly one mask.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give a folder with one folder per case.")
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        masks = sorted({mask for pattern in MASKS for mask in place.glob(pattern)})
        if len(masks) != 1:
            raise InputError(f"{place} holds {len(masks)} masks. Give each case one file named like one of: {', '.join(MASKS)}.")
        case = read_case(place)
        found.append((case, read_mask(masks[0], case)))
    if not found:
        raise InputError(f"{folder} holds no folders of cases. Give a folder with one folder per case.")
    return found
