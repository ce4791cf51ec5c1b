"""`simulate`: the loop on one case, or a protocol, with a simulated annotator in the place of the person."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_breastseg.cli.options import Device
from napari_breastseg.cli.report import Debug, Json, report


class ProtocolName(StrEnum):
    """Protocols of `simulate`."""

    p1 = "p1"
    p2 = "p2"
    p3 = "p3"
    p4 = "p4"
    p5 = "p5"
    queue = "queue"


def simulate(
    case: Annotated[Path | None, typer.Option(help="NIfTI file, or folder with one file per phase.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Mask of the tumour on the same grid.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Starter model or .safetensors file; default: hcma-unet, of images ha-net, of mammograms brems-net."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0)] = 3,
    seed: Annotated[int, typer.Option(help="Of the robot.")] = 0,
    device: Device = "auto",
    session: Annotated[Path | None, typer.Option(help="A new folder to keep the session in.")] = None,
    start_errors: Annotated[bool, typer.Option("--start-errors", help="Also start from models that see too much and too little.")] = False,
    protocol: Annotated[
        ProtocolName | None,
        typer.Option(
            help="p1 clicks, p2 stream of cases, p3 minutes, p4 forgetting, p5 sloppy annotators, queue the order of cases; "
            "on phantoms, p1 and p3 also on --case."
        ),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms of each seed.")] = 24,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of a protocol, with the seeds 0, 1, ...")] = 3,
    recipes: Annotated[str | None, typer.Option(help="Ways to learn, separated by commas: frozen, naive, trust, replay, full, ...")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each round of a protocol.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the reports of a protocol or of --start-errors; the same command goes on there.")
    ] = Path("simulation"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a robot correct, learn, and predict again, round after round on one case or by a published protocol."""
    if (case is None) != (reference is None):
        raise typer.BadParameter("--case and --reference belong together.")
    if case is None and protocol is None:
        raise typer.BadParameter("Give --case and --reference, or a --protocol, which runs on phantoms.")
    if start_errors and protocol is not None:
        raise typer.BadParameter("--start-errors is no part of a protocol. Leave one of both out.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.simulate import Trial, simulate_files, simulate_protocol, simulate_starts

        files = None if case is None or reference is None else (case, reference)
        if protocol is not None:
            named = None if recipes is None else recipes.split(",")
            simulate_protocol(speaker, Trial(protocol.value, cases, seeds, named, steps), files, model, device, out)
        elif files is not None:
            asked = (files, model, rounds, seed, device)
            simulate_starts(speaker, *asked, out) if start_errors else simulate_files(speaker, *asked, session)
