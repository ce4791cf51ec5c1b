"""The napari reader for examinations in NIfTI files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from napari.types import LayerDataTuple

from napari_breastseg.errors import BreastSegError
from napari_breastseg.io import read_case
from napari_breastseg.widgets.desk.jobs import while_responsive
from napari_breastseg.widgets.desk.messages import tell
from napari_breastseg.widgets.view.layers import case_layers

ENDINGS = (".nii", ".nii.gz")


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerDataTuple]] | None:
    """Return a reader for a NIfTI file or a folder with one file per phase; None for anything else."""
    if not isinstance(path, str):
        return None
    place = Path(path)
    files = place.iterdir() if place.is_dir() else [place]
    return read if any(file.name.lower().endswith(ENDINGS) for file in files) else None


def read(path: str | Sequence[str]) -> list[LayerDataTuple]:
    """Read one examination; what is wrong with it is told in one sentence, and then no layer is added."""
    try:
        place = Path(path if isinstance(path, str) else path[0])
        case = while_responsive(f"Reading {place.name}", lambda: read_case(place))
    except BreastSegError as error:
        tell(error)
        return [(None,)]
    layers = case_layers(case)
    layers[0][1]["metadata"]["breastseg_path"] = str(path)
    return layers
