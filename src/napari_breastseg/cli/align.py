"""`align`: how far the phases of an examination lie apart, and new files in which they lie over each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from napari_breastseg.cli.report import Debug, Json, Report, report
from napari_breastseg.errors import InputError

if TYPE_CHECKING:
    from napari_breastseg.case import Case
    from napari_breastseg.preprocess.alignment import Aligned
    from napari_breastseg.preprocess.motion import Motion, PhaseMotion


def align(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder with one NIfTI file per phase, or one file with all phases.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the aligned phases; never the examination's own.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only measure how far the phases lie apart.")] = False,
    rigid: Annotated[bool, typer.Option("--rigid", help="Turn and shift each breast, but do not bend it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace aligned phases that are there already.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Lay the phases of an examination over the first one after contrast, and say how far they lay apart."""
    if check and (out is not None or rigid or overwrite):
        raise typer.BadParameter("--check writes nothing. Leave --out, --rigid and --overwrite away.")
    if out is None and not check:
        raise typer.BadParameter("Give --out, or --check.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.io import read_case

        case = read_case(image)
        if out is None:
            _check(speaker, case)
        else:
            _align(speaker, case, image.expanduser(), out.expanduser(), rigid, overwrite)


def _check(speaker: Report, case: Case) -> None:
    from napari_breastseg.preprocess.motion import motion_check

    motion = speaker.run(motion_check(case))
    speaker.answer(
        {
            "case": case.name,
            "reference": motion.reference,
            "advised": motion.advised,
            "words": motion.words,
            "phases": [asdict(phase) | {"advised": phase.advised} for phase in motion.phases],
        },
        _motion_table(motion),
        motion.words,
    )


def _align(speaker: Report, case: Case, image: Path, out: Path, rigid: bool, overwrite: bool) -> None:
    from napari_breastseg.preprocess import alignment

    files = _places(case, image, out, overwrite)
    aligned = speaker.run(alignment.align(case, "rigid" if rigid else "deformable"))
    _write(aligned, files, out)
    answer = {
        "out": str(out),
        "case": case.name,
        "files": [str(file) for file in files],
        **aligned.case.metadata["aligned"],
        "seconds": {str(phase.phase): round(phase.seconds, 1) for phase in aligned.phases},
    }
    speaker.answer(answer, _aligned_table(aligned), aligned.words, f"Aligned phases in {out}")


def _places(case: Case, image: Path, out: Path, overwrite: bool) -> list[Path]:
    """Return the name of each phase's file, before minutes of work; refuse a folder where they would mix with other images."""
    from napari_breastseg.io.nifti import nifti_files

    own = image if image.is_dir() else image.parent
    if out.exists() and out.resolve() == own.resolve():
        raise InputError(f"{out} is the folder of the examination itself, which is never written over. Choose another one.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Give --out a folder for the phases.")
    files = [out / f"{case.name}_{phase:04d}.nii.gz" for phase in range(case.phases)]
    there = nifti_files(out) if out.is_dir() else []
    strange = [file for file in there if file not in files]
    if strange:
        raise InputError(f"{out} holds other images, such as {strange[0].name}. Choose an empty folder.")
    if there and not overwrite:
        raise InputError(f"{there[0]} is there already. Choose another folder, or add --overwrite.")
    return files


def _write(aligned: Aligned, files: list[Path], out: Path) -> None:
    """Write the phases on the grid of the original files, and beside them their times and what was done to them."""
    from napari_breastseg.io import write_map
    from napari_breastseg.io.atomic import write_atomically

    case = aligned.case
    out.mkdir(parents=True, exist_ok=True)
    for phase, file in enumerate(files):
        write_map(case.phase(phase), case.geometry, file)
    times = {"times": list(case.times)} if case.times else {}
    content = json.dumps(times | {"aligned": case.metadata["aligned"]}, indent=1)
    write_atomically(out / f"{case.name}.json", content.encode())


def _motion_table(motion: Motion) -> Table:
    table = Table("phase", "median mm", "90 % within mm", "median voxels", "90 % within voxels", "blocks", "align?", box=None)
    for phase in motion.phases:
        table.add_row(str(phase.phase), *_figures(phase), str(phase.blocks), "yes" if phase.advised else "no")
    return table


def _figures(phase: PhaseMotion) -> list[str]:
    return [f"{value:.2f}" for value in (phase.median_mm, phase.most_mm, phase.median_voxels, phase.most_voxels)]


def _aligned_table(aligned: Aligned) -> Table:
    table = Table("phase", "how", "mm before", "mm after", "voxels before", "voxels after", "volume change", "seconds", box=None)
    for phase in aligned.phases:
        pairs = [(p.median_mm, p.median_voxels) for p in (phase.before, phase.after)]
        figures = [f"{pair[unit]:.2f}" for unit in (0, 1) for pair in pairs]
        low, high = ((value - 1) * 100 for value in phase.jacobian)
        table.add_row(str(phase.phase), phase.how, *figures, f"{low:+.0f} to {high:+.0f} %", f"{phase.seconds:.0f}")
    return table
