"""The commands; each parses its arguments, calls the public API and reports."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from napari_breastseg import __version__
from napari_breastseg.cli import benchmark, session_app
from napari_breastseg.cli.align import align
from napari_breastseg.cli.kinetics import kinetics
from napari_breastseg.cli.options import Device, Overwrite, given, seconds_of
from napari_breastseg.cli.report import Debug, Json, report
from napari_breastseg.cli.sample import sample
from napari_breastseg.cli.simulate_app import simulate
from napari_breastseg.cli.train_app import reproduce, train

app = typer.Typer(
    name="napari-breastseg",
    help="Breast tumour segmentation that learns from your corrections on your own computer. Research only, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(session_app.app, name="session")

SessionFolder = Annotated[Path, typer.Option("--session", help="Folder of the session.")]


class Maps(StrEnum):
    """Maps that `predict` can add."""

    frloss = "frloss"


def main() -> None:
    """Run the command line; exit code 0 done, 1 refused or failed, 2 wrong usage."""
    app()


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def choose(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say it.")] = False,
    scan: Annotated[str | None, typer.Option(help="Back end of the selective scan; `info` lists them. Default: the fastest here.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine of convolutions on a CPU: torch or openvino. Default: the faster.")] = None,
) -> None:
    """Force a back end for the command that follows."""
    if scan is None and engine is None:
        return
    with report(False, False):
        from napari_breastseg.inference.engines import force_engine
        from napari_breastseg.networks.selective_scan import force_backend

        force_backend(scan)
        force_engine(engine)


@app.command()
def info(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, devices, scan back ends and threads."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.facts import installation

        facts = installation()
        table = Table("what", "value", box=None)
        for key, value in facts.items():
            lines = [f"{name}: {text}" for name, text in value.items()] if isinstance(value, dict) else [str(value)]
            table.add_row(key, "\n".join(lines))
        speaker.answer(facts, table)


@app.command()
def methods(as_json: Json = False, debug: Debug = False) -> None:
    """List every preset with its parameters, inputs and published figures."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.facts import preset_facts

        rows = preset_facts()
        table = Table("preset", "for", "parameters", "channels", "patch", "grid", "about", box=None)
        for row in rows:
            patch, spacing = ("x".join(map(str, row[key])) for key in ("patch", "spacing_mm"))
            grid = f"{row['side']} pixels" if row["side"] else f"{spacing} mm"
            table.add_row(row["name"], row["modality"], f"{row['parameters']:,}", str(row["channels"]), patch, grid, row["about"])
        speaker.answer({"methods": rows}, table)


@app.command()
def models(
    session: Annotated[Path | None, typer.Option(help="Folder of a session; without it the starter models are listed.")] = None,
    use: Annotated[str | None, typer.Option(help="Make this version of the session current: the first digits of its sha256.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the starter models, or the versions of a session; make any version current."""
    if use is not None and session is None:
        raise typer.BadParameter("--use needs --session.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.versions import session_models, starter_facts, use_version

        if session is None:
            rows, current = starter_facts(), None
        else:
            if use is not None:
                use_version(session, use)
            rows, current = session_models(session)
        table = Table("model", "preset", "round", "parent", "adopted", "trained on", box=None)
        for row in rows:
            mark = "* " if row["sha256"] == current else ""
            number = str(row.get("round") or "")
            table.add_row(
                mark + row["sha256"][:12], row["preset"], number, (row["parent"] or "")[:12], str(row["adopted"]), row["trained_on"]
            )
        speaker.answer({"models": rows, "current": current}, table)


@app.command()
def predict(
    image: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="NIfTI file, folder with one file per phase, image (PNG, JPEG, TIFF); or a folder of many."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the mask (.nii.gz, of an image also .png), on the original grid; the folder for the masks of many."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Starter model or .safetensors file; default: the session's, else hcma-unet, of images ha-net, of mammograms brems-net."
        ),
    ] = None,
    device: Device = "auto",
    scheduler: Annotated[
        str | None, typer.Option(help="Many: on the workers of this Dask scheduler, such as tcp://host:8786; --device is the workers'.")
    ] = None,
    full_field: Annotated[
        bool, typer.Option("--full-field", help="Look everywhere, not only where the breasts were found: slower.")
    ] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mean over all mirror images, and a map of the uncertainty: eight times the work.")
    ] = False,
    probability: Annotated[bool, typer.Option("--probability", help="Many: also write the probability of tumour.")] = False,
    times: Annotated[str | None, typer.Option(help="Seconds of each phase, separated by commas.")] = None,
    overwrite: Overwrite = False,
    session: Annotated[Path | None, typer.Option(help="Session to keep the case and its prediction in; made if there is none.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Leave the images where they are: the session keeps their path and a hash.")] = False,
    maps: Annotated[Maps | None, typer.Option(help="Also show why: write maps beside --out and keep them in --session.")] = None,
    boundary_reach: Annotated[int | None, typer.Option(min=0, help="T1 of the maps: voxels around the tumour; 10.")] = None,
    negative_reach: Annotated[int | None, typer.Option(min=0, help="T2: voxels around the hardest healthy voxels; 10.")] = None,
    hardest: Annotated[int | None, typer.Option(min=1, help="N of the maps: hardest healthy voxels; 250.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Segment the tumour in one examination, or in every one below a folder; exit code 1 if any of these failed."""
    if out is None and session is None:
        raise typer.BadParameter("Give --out, --session, or both.")
    seconds = seconds_of(times)
    asked = given(boundary_reach=boundary_reach, negative_reach=negative_reach, hardest=hardest)
    if asked and maps is None:
        raise typer.BadParameter("--boundary-reach, --negative-reach and --hardest need --maps frloss.")
    if link and session is None:
        raise typer.BadParameter("--link needs --session.")
    way = {"region": "full" if full_field else "breast", "mirror": mirror}
    failures = False
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.cohort import predict_folder, refuse_for_case, refuse_for_cohort
        from napari_breastseg.cli.maps import hard_negatives_table
        from napari_breastseg.cli.tables import tumour_in_words
        from napari_breastseg.cli.work import predict_file
        from napari_breastseg.io.listing import is_cohort, list_cases

        if is_cohort(image.expanduser()):
            image = image.expanduser()
            listing = list_cases(image)
            for_one = {"--session": session is not None, "--times": times is not None, "--maps": maps is not None, "--overwrite": overwrite}
            refuse_for_cohort(image, listing, for_one)
            answer, shown = predict_folder(speaker, image, listing, out, model, device, probability, scheduler, way)
            failures = bool(answer["failures"])
            speaker.answer(answer, *shown)
        else:
            refuse_for_case(image, {"--scheduler": scheduler is not None, "--probability": probability})
            answer = predict_file(
                speaker, image, out, model, device, seconds, session, None if maps is None else asked, link, way, overwrite
            )
            words = f"{tumour_in_words(answer)}, by {answer['preset']}" + (f"; mask in {out}" if out else "")
            words += f"; uncertainty in {answer['uncertainty']}" if answer["uncertainty"] else ""
            words += f"; kept in {session} as {answer['case_id']}" if session else ""
            found = answer.get("hard_negatives")
            listed = [hard_negatives_table(found, answer["explanation"]["hardest"])] if found else []
            speaker.answer(answer, words, *listed)
    if failures:
        raise typer.Exit(1)


@app.command()
def refine(
    session: SessionFolder,
    case: Annotated[str, typer.Option(help="Name of the case, or the first letters of its id.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take the last refinement back; the strokes stay.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the mask (.nii.gz), on the original grid.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let the prediction of a case follow the strokes on it; the model stays as it is."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.tables import tumour_in_words
        from napari_breastseg.cli.work import refine_case

        answer = refine_case(speaker, session, case, undo, out, overwrite)
        speaker.answer(answer, tumour_in_words(answer) + (f"; mask in {out}" if out else ""))


@app.command()
def learn(
    session: SessionFolder,
    correction: Annotated[
        list[str] | None, typer.Option(help="CASE=MASK.nii.gz: a completely corrected mask of a case of the session; may be repeated.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; more take longer.")] = None,
    from_base: Annotated[bool, typer.Option("--from-base", help="Start from the model that the session began with.")] = False,
    device: Device = "auto",
    scheduler: Annotated[
        str | None, typer.Option(help="Learn on a worker of this Dask scheduler, such as tcp://host:8786; --device is then the worker's.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn from the corrections of a session; the new version is adopted only if it is no worse."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.work import learn_session

        answer = learn_session(speaker, session, correction or [], steps, from_base, device, scheduler)
        verdict = "Adopted" if answer["adopted"] else "Not adopted"
        speaker.answer(answer, f"{verdict}: {'; '.join(answer['reasons'])}")


@app.command()
def queue(
    session: SessionFolder,
    top: Annotated[int | None, typer.Option(min=1, help="Show only so many; default: all that wait.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Starter model or .safetensors file, if the session has no model yet; default: by the kind of its first case."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which case to correct next, and why: those first from which the model would probably learn most."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.queue import queue_session

        speaker.answer(*queue_session(speaker, session, top, model, device))


app.command()(simulate)
app.command()(align)
app.command()(kinetics)
app.command()(train)
app.command()(reproduce)
app.command()(sample)


@app.command()
def export(
    session: SessionFolder,
    case: Annotated[str, typer.Option(help="The case: its id in the session, or the beginning of it.")],
    out: Annotated[Path, typer.Option(help="Folder for the mask and its provenance.")],
    ome_zarr: Annotated[bool, typer.Option("--ome-zarr", help="Also write images and labels as OME-Zarr 0.5.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a case's mask on its original grid, and where it comes from."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.versions import find_case
        from napari_breastseg.session import Session

        with Session.open(session, read_only=True) as opened:
            case_id = find_case(opened, case)
            mask = opened.export(case_id, out, ome_zarr)
        answer = {"mask": str(mask), "provenance": str(out / f"{case_id}.provenance.json")}
        speaker.answer(answer | ({"ome_zarr": str(out / f"{case_id}.ome.zarr")} if ome_zarr else {}), f"Mask in {mask}")


@app.command()
def verify(session: SessionFolder, as_json: Json = False, debug: Debug = False) -> None:
    """Check every row and file of a session; exit code 1 if anything is wrong."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.session import Session

        with Session.open(session, read_only=True) as opened:
            problems = speaker.run(opened.verifying())
        speaker.answer({"problems": problems}, *(problems or ["All is well."]))
    if problems:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the session and the picture.")] = Path("demo-session"),
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Of the synthetic examination and the robot.")] = 7,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go the whole way on a synthetic examination: predict, correct, learn, predict again; keep the session and a picture."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.demo import run_demo
        from napari_breastseg.cli.tables import rounds_table

        answer = run_demo(speaker, out, rounds, seed, device)
        where = f"Session: {answer['session']}\nPicture: {answer['picture']}"
        speaker.answer(answer, rounds_table(answer["rounds"]), where)
