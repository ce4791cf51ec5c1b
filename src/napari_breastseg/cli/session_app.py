"""The commands that look into a session: what happened, what differs, the way back, and its upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_breastseg.cli.report import Debug, Json, report

app = typer.Typer(help="Look into a session, go back in it, and keep it in order.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--session", help="Folder of the session.")]
CaseName = Annotated[str, typer.Option("--case", help="The case: its name, its id in the session, or the beginning of it.")]


@app.command()
def log(session: Folder, case: CaseName, as_json: Json = False, debug: Debug = False) -> None:
    """List what happened to a case, oldest first; the versions are those that `diff` and `checkout` take."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.history import log_case

        speaker.answer(*log_case(session, case))


@app.command()
def diff(
    session: Folder,
    case: CaseName,
    first: Annotated[str, typer.Option("--from", help="Version as `log` lists it: edit, or edit/prediction; 0 is the beginning.")],
    second: Annotated[str | None, typer.Option("--to", help="The other version; default: as it stands.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write a mask (.nii.gz): 1 added, 2 removed.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which voxels of the mask differ between two versions, and when and by which tool or model they became what they are."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.history import diff_case

        speaker.answer(*diff_case(session, case, first, second, out))


@app.command()
def checkout(
    session: Folder,
    case: CaseName,
    to: Annotated[int, typer.Option(min=0, help="The edit to go back to, as `log` lists it; 0 is before the first.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make an earlier annotation the present one, by a new edit that undo takes back; `models --use` does the same for models."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.history import checkout_case

        speaker.answer(*checkout_case(session, case, to))


@app.command()
def overrule(
    session: Folder,
    number: Annotated[int, typer.Option("--round", help="The learning round whose candidate was not adopted, as `learn` said.")],
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Use the candidate that the gate refused; that you decided so is recorded, and `models --use` goes back."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.session import Session

        with Session.open(session) as opened:
            opened.overrule(number, note)
            current = opened.current_model
        speaker.answer({"round": number, "current": current}, f"The candidate of round {number} is the current model.")


@app.command()
def repair(session: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Mend what is damaged as far as checksums, journal and snapshots say what it was; exit code 1 if something remains."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.session import Session

        with Session.open(session) as opened:
            mended = speaker.run(opened.repairing())
            problems = speaker.run(opened.verifying())
        lines = [*mended, *(f"Remains: {problem}" for problem in problems)] or ["All is well."]
        speaker.answer({"mended": mended, "problems": problems}, *lines)
    if problems:
        raise typer.Exit(1)


@app.command()
def compact(session: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Give room back to the disk; every version, edit, prediction and model stays."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.session import Session

        with Session.open(session) as opened:
            freed = speaker.run(opened.compacting())
        speaker.answer({"freed_bytes": freed}, f"{freed / 1e6:,.1f} MB were given back.")
