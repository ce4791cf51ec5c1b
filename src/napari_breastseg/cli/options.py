"""Options that several commands share; those of the answer stand in :mod:`napari_breastseg.cli.report`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ModelName = Annotated[
    str,
    typer.Option("--model", help="Starter model by name, or a .safetensors file; a session uses it from then on."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a mask that is there already.")]


def seconds_of(text: str | None) -> list[float] | None:
    """Read a list of seconds."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of seconds such as 0,120,240.") from error


def given(**options: float | None) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
