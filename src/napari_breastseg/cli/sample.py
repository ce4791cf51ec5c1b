"""`sample`: synthetic examinations as files, with the truth beside them, to try everything on."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_breastseg.cli.report import Debug, Json, report
from napari_breastseg.errors import InputError


class Kind(StrEnum):
    """What is made."""

    dce_mri = "dce-mri"
    ultrasound = "ultrasound"
    mammogram = "mammogram"


def sample(
    kind: Annotated[Kind, typer.Argument(help="What to make.")],
    out: Annotated[Path, typer.Option(help="A folder; what is there already is left alone.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; each has its own.")] = 2,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make synthetic examinations with the truth beside them: files like your own, for `predict`, `train` and `reproduce`."""
    with report(as_json, debug) as speaker:
        made = []
        for number in range(count):
            speaker.say(f"Making {number + 1} of {count} ...")
            made.append(_volume(out, seed + number) if kind == Kind.dce_mri else _image(out, seed + number, kind))
        lines = [f"{row['images']} with its truth in {row['mask']}" for row in made]
        speaker.answer({"samples": made, "folder": str(out)}, *lines)


def _volume(out: Path, seed: int) -> dict[str, str]:
    """Write one NIfTI file per phase, their times, and the mask, in a folder of their own."""
    from napari_breastseg.io import write_map, write_mask
    from napari_breastseg.io.atomic import write_atomically
    from napari_breastseg.phantom import make_phantom

    name = f"sample{seed}"
    place = _folder(out / name)
    if any(place.iterdir()):
        raise InputError(f"{place} is there already. Choose another folder or another --seed.")
    phantom = make_phantom(seed, lesions=1)
    for phase in range(phantom.case.phases):
        write_map(phantom.case.phase(phase), phantom.case.geometry, place / f"{name}_{phase:04d}.nii.gz")
    write_atomically(place / f"{name}.json", json.dumps({"times": phantom.case.times}).encode())
    mask = place / f"{name}_mask.nii.gz"
    write_mask(phantom.tumour, phantom.case.geometry, mask)
    return {"images": str(place), "mask": str(mask)}


def _image(out: Path, seed: int, kind: Kind) -> dict[str, str]:
    """Write a PNG file into ``images``, what it shows beside it, and the mask into ``masks``."""
    from napari_breastseg.io.atomic import write_atomically
    from napari_breastseg.io.image_files import write_grey
    from napari_breastseg.io.masks import write_mask
    from napari_breastseg.io.sidecars import KIND, SPACING
    from napari_breastseg.phantom.mammogram import make_mammogram
    from napari_breastseg.phantom.ultrasound import make_ultrasound

    phantom = make_ultrasound(seed, masses=1) if kind == Kind.ultrasound else make_mammogram(seed, masses=1)
    image, mask = (_folder(out / folder) / f"{kind.value}{seed}.png" for folder in ("images", "masks"))
    for path in (image, mask):
        if path.exists():
            raise InputError(f"{path} is there already. Choose another folder or another --seed.")
    about: dict[str, Any] = {KIND: "US" if kind == Kind.ultrasound else "MG"}
    if phantom.case.geometry.unit == "mm":
        about[SPACING] = phantom.case.geometry.spacing[1:]
    write_grey(phantom.case.phase(0)[0], image)
    write_atomically(image.with_suffix(".json"), json.dumps(about).encode())
    write_mask(phantom.mask, phantom.case.geometry, mask)
    return {"images": str(image), "mask": str(mask)}


def _folder(folder: Path) -> Path:
    """Return a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}). Choose another folder.") from error
    return folder
