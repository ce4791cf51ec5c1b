"""`kinetics`: curves, maps and volumes of contrast uptake, by the published definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from napari_breastseg.cli.options import seconds_of
from napari_breastseg.cli.report import Debug, Json, Report, report
from napari_breastseg.errors import InputError

if TYPE_CHECKING:
    from napari_breastseg.case import Case
    from napari_breastseg.kinetics import Thresholds, Timing
    from napari_breastseg.kinetics.clustering import ClusterMap

SLOPES = ("wash_in", "wash_out")
MAPS = ("pe", "ser", *SLOPES, "type")


def kinetics(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder with one NIfTI file per phase, or one file with all phases.")],
    mask: Annotated[Path | None, typer.Option(help="Mask of the lesion, as `predict` writes it.")] = None,
    gland: Annotated[Path | None, typer.Option(help="Mask of the fibroglandular tissue, for its background enhancement (BPE).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for maps, curves and figures.")] = None,
    times: Annotated[str | None, typer.Option(help="Seconds of each phase, separated by commas.")] = None,
    injection: Annotated[float | None, typer.Option(help="When contrast was injected, s on the same clock.")] = None,
    uptake: Annotated[float, typer.Option(min=0, help="Least peak enhancement, %, of a curve that counts.")] = 20.0,
    change: Annotated[float, typer.Option(min=0, help="Rise or fall after the initial phase, %, up to which a curve is a plateau.")] = 10.0,
    clusters: Annotated[bool, typer.Option("--clusters", help="Also write the map of the clusters of curves.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace kinetics that are there already.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure contrast kinetics: PE, SER, slopes, curve types, FTV, BPE; maps with --out, figures of a lesion with --mask."""
    if clusters and out is None:
        raise typer.BadParameter("--clusters needs --out.")
    seconds = seconds_of(times)
    with report(as_json, debug) as speaker:
        from napari_breastseg.io import read_case
        from napari_breastseg.kinetics import Thresholds

        case = read_case(image, seconds)
        answer = _measure(speaker, case, mask, gland, out, injection, Thresholds(uptake=uptake, change=change), clusters, overwrite)
        speaker.answer(answer, kinetics_table(answer), *([] if out is None else [f"Maps, curves and figures in {out}"]))


def _measure(
    speaker: Report, case: Case, mask: Path | None, gland: Path | None, out: Path | None, injection: float | None, limits: Thresholds,
    clusters: bool, overwrite: bool,
) -> dict[str, Any]:  # fmt: skip
    from napari_breastseg.io import read_mask, write_mask
    from napari_breastseg.io.atomic import write_atomically
    from napari_breastseg.kinetics import background_enhancement, functional_tumour_volume, lesion_kinetics, timing_of
    from napari_breastseg.kinetics.facts import Placed, curve_table, kinetic_facts
    from napari_breastseg.kinetics.ftv import MARGIN_MM, around

    if out is not None:
        _refuse_taken(out, overwrite)
    timing = timing_of(case, injection)
    for note in timing.notes:
        speaker.say(note)
    tumour = lesion = ftv = None
    curves: dict[str, Placed] = {}
    if mask is not None:
        tumour = read_mask(mask, case)
        lesion = lesion_kinetics(case, timing, tumour, limits)
        curves["lesion"] = (lesion.curve, None)
        if timing.delayed:
            region = around(case, tumour).astype("uint8")
            ftv = functional_tumour_volume(case, timing, region), f"the tumour's box and {MARGIN_MM:.0f} mm around it"
    background = None if gland is None else background_enhancement(case, timing, read_mask(gland, case), tumour)
    moved = _motion(speaker, case)
    facts = {**kinetic_facts(case, timing, limits, curves, lesion, ftv, background), "motion": moved}
    if out is None:
        return {**facts, "files": {}}
    found = _clusters(speaker, case, timing) if clusters else None  # refused before anything is written
    _make_room(out)
    files = _write_maps(speaker, case, timing, limits, out)
    if found is not None:
        files["clusters"] = str(_place(out, "clusters"))
        write_mask(found.labels, case.geometry, _place(out, "clusters"))
        facts["curve_clusters"] = {"codebook_sha256": found.codebook}
    write_atomically(out / "curves.csv", curve_table(curves, timing).encode())
    write_atomically(out / "kinetics.json", json.dumps(facts, indent=2).encode())
    return {**facts, "files": files}


def kinetics_table(answer: dict[str, Any]) -> Table | str:
    """Draw what was measured of the lesion and of the background."""
    lesion, ftv, background = (answer[key] for key in ("lesion", "functional_tumour_volume", "background_enhancement_percent"))
    if lesion is None and background is None:
        return "No mask was given, so no lesion was measured. Give one with --mask."
    table = Table("", "", title=f"Kinetics of {answer['case']}", box=None, show_header=False, title_justify="left")
    if lesion is not None:
        curve = answer["curves"]["lesion"]
        table.add_row("volume", f"{lesion['ml']:.2f} mL")
        table.add_row("PE", f"{curve['pe']:.0f} % (highest neighbourhood {lesion['peak_pe']:.0f} %), {curve['initial']} initial rise")
        if lesion["shares_percent"] is not None:
            table.add_row("curve", f"{curve['type']}, SER {curve['ser']:.2f}")
            table.add_row("voxels", ", ".join(f"{share:.0f} % {name}" for name, share in lesion["shares_percent"].items()))
            table.add_row("worst curve", lesion["worst"]["words"])
    if ftv is not None:
        table.add_row(ftv["name"], f"{ftv['ml']:.2f} mL in {ftv['region']}; {ftv['reason']}")
    if background is not None:
        table.add_row("BPE", f"{background:.0f} % of the fibroglandular tissue given")
    return table


def _refuse_taken(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds results already, before minutes of work."""
    if (out / "kinetics.json").exists() and not overwrite:
        raise InputError(f"{out} holds kinetics already. Choose another folder, or add --overwrite.")


def _make_room(out: Path) -> None:
    """Make the folder for the results, without the maps of earlier ones, which this time may not all be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (*MAPS, "clusters"):
            _place(out, name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"The folder {out} cannot be written to ({error.strerror}). Choose another place.") from error


def _place(out: Path, name: str) -> Path:
    return out / f"{name.replace('_', '-')}.nii.gz"


def _motion(speaker: Report, case: Case) -> str | None:
    """Warn of phases that lie apart, and return that in words; None where it cannot be measured."""
    from napari_breastseg.preprocess.motion import motion_check

    try:
        motion = speaker.run(motion_check(case))
    except InputError:
        return None  # as in a single slice; what is measured holds all the same
    if motion.advised:
        speaker.say(motion.words)
    return motion.words


def _clusters(speaker: Report, case: Case, timing: Timing) -> ClusterMap:
    from napari_breastseg.kinetics.clustering import cluster_map, starter_codebook
    from napari_breastseg.preprocess.breast_region import breast_mask
    from napari_breastseg.preprocess.overview import Overview

    return speaker.run(cluster_map(case, timing.seconds, breast_mask(Overview.of(case)), starter_codebook()))


def _write_maps(speaker: Report, case: Case, timing: Timing, limits: Thresholds, out: Path) -> dict[str, str]:
    from napari_breastseg.io import write_map, write_mask
    from napari_breastseg.kinetics import kinetic_maps

    found = speaker.run(kinetic_maps(case, timing, thresholds=limits))
    files = {}
    for name in MAPS if timing.known else [name for name in MAPS if name not in SLOPES]:
        values = getattr(found, name)
        if values is not None:
            path = _place(out, name)
            if name == "type":
                write_mask(values, case.geometry, path)
            else:
                write_map(values.astype("float32"), case.geometry, path)
            files[name] = str(path)
    return files
