"""Options that several commands share; those of the answer stand in :mod:`napari_breastseg.cli.report`."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ModelName = Annotated[str, typer.Option("--model", help="Starter model by name, or a .safetensors file with its card.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a mask that is there already.")]
