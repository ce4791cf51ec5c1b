"""The commands that measure speed, and whether a session keeps what it promises."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_breastseg.cli.report import Debug, Json, report

app = typer.Typer(help="Measure speed side by side in one run; ratios carry over to other machines, seconds do not.", no_args_is_help=True)


class Volumes(StrEnum):
    """What can be measured of whole volumes."""

    windows = "windows"
    peers = "peers"
    larger = "larger"
    recall = "recall"


class Trials(StrEnum):
    """What can be tried on a session."""

    kills = "kills"
    disk_full = "disk-full"
    power = "power"
    two_processes = "two-processes"
    bit_flips = "bit-flips"
    latency = "latency"


Repeats = Annotated[int, typer.Option(min=1, help="The median of so many runs counts.")]


@app.command()
def scan(
    length: Annotated[int, typer.Option(min=1, help="Time steps; a square number.")] = 1024,
    states: Annotated[int, typer.Option(min=1)] = 32,
    channels: Annotated[int, typer.Option(min=1)] = 8,
    slices: Annotated[int, typer.Option(min=1)] = 32,
    repeats: Repeats = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare the selective scan's back ends with the loop that Mamba runs without a GPU kernel."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.evaluation.benchmarks.scan import benchmark_scan

        answer = speaker.run(benchmark_scan(length, states, channels, slices, repeats))
        table = Table("back end", "forward s", "x the loop", "x the floor", "forward + backward s", "x the loop", box=None)
        for row in answer["rows"]:
            cells = [row["forward_s"], row["forward_times_faster"], row["forward_times_the_floor"], row["both_s"], row["both_times_faster"]]
            table.add_row(row["backend"], *map(_short, cells))
        speaker.answer(answer, table, _footer(answer, answer["floor_s"]))


@app.command()
def forward(
    size: Annotated[int, typer.Option(min=64, help="Edge of the patch in voxels; a multiple of 32.")] = 128,
    repeats: Repeats = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare one patch through HCMA-UNet with one through the network that nnU-Net would choose, on the CPU."""
    if size % 32:
        raise typer.BadParameter("--size must be a multiple of 32.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.evaluation.benchmarks.forward import benchmark_forward

        answer = speaker.run(benchmark_forward(size, repeats))
        table = Table("network, engine", "s", "of DynUNet in torch", "of DynUNet in OpenVINO", "peak MiB", "x the floor", box=None)
        for row in answer["rows"]:
            keys = ("seconds", "of_peer_in_torch", "of_peer_in_openvino", "peak_memory_mib", "times_the_floor")
            table.add_row(row["network"], *(_short(row[key]) for key in keys))
        speaker.answer(answer, table, _footer(answer, answer["floor"]["seconds"]))


@app.command()
def image(
    size: Annotated[int, typer.Option(min=64, help="Pixels a side; a multiple of 32.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="The median of so many runs counts.")] = 21,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare one image through HA-Net with one through MONAI's BasicUNet and AttentionUnet, on the CPU."""
    if size % 32:
        raise typer.BadParameter("--size must be a multiple of 32.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.evaluation.benchmarks.image import benchmark_image

        answer = speaker.run(benchmark_image(size, repeats))
        table = Table("network", "engine", "parameters, M", "s", "of BasicUNet", "of AttentionUnet", box=None)
        for row in answer["rows"]:
            cells = (row["parameters"] / 1e6, *(row[key] for key in ("seconds", "of_basic_unet", "of_attention_unet")))
            table.add_row(row["network"], row["engine"], *map(_short, cells))
        speaker.answer(answer, table, _machine(answer))


@app.command()
def inference(
    cases: Annotated[int, typer.Option(min=1, help="Phantoms to measure on.")] = 10,
    only: Annotated[list[Volumes] | None, typer.Option(help="Only this part; may be given more than once.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict whole examinations beside MONAI and nnU-Net, one larger than memory, and tumours of every size; takes about 30 minutes."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.benchmark_tables import inference_tables
        from napari_breastseg.evaluation.benchmarks.inference.suite import benchmark_inference

        answer = speaker.run(benchmark_inference(cases, [str(name) for name in only or ()]))
        speaker.answer(answer, *inference_tables(answer))


@app.command()
def session(
    folder: Annotated[Path | None, typer.Option(help="A folder on the disk to be tried; default: the system's temporary one.")] = None,
    only: Annotated[list[Trials] | None, typer.Option(help="Only this trial; may be given more than once.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try each a few times only.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Try to break a session by kills, full disks, power cuts, second writers and bit flips, and time its strokes beside other stores."""
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.session_trials import trial_tables
        from napari_breastseg.evaluation.session_trials.suite import benchmark_session

        answer = speaker.run(benchmark_session(folder, [str(name) for name in only or ()], quick))
        speaker.answer(answer, *trial_tables(answer))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _footer(answer: dict[str, Any], floor: float) -> str:
    return f"Floor {floor:.3g} s. {_machine(answer)}"


def _machine(answer: dict[str, Any]) -> str:
    machine = answer["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['threads']} threads, load {machine['load_average']}. {versions}. Medians of {answer['repeats']}."
    )
