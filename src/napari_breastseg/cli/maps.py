"""The maps that a method gives beside its mask: computed, written beside the mask, and listed."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from napari_breastseg.case import TUMOUR, Case, Geometry
from napari_breastseg.cli.report import Report
from napari_breastseg.io import write_map, write_mask
from napari_breastseg.io.nifti_file import stem
from napari_breastseg.io.orientation import canonical_shape, place_in_file
from napari_breastseg.measure import amount

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation, HardNegative
    from napari_breastseg.inference.grids import Region
    from napari_breastseg.methods.model import Model


def explained(
    speaker: Report, case: Case, model: Model, mask: npt.NDArray[np.uint8], device: str, settings: Mapping[str, Any], region: Region
) -> Explanation | None:
    """Compute FRLoss's maps of the mask that is shown; None, and a word to the person, if it shows no tumour."""
    from napari_breastseg.inference import explain
    from napari_breastseg.losses.frloss import FRLoss

    if not (mask == TUMOUR).any():
        speaker.say("There is no tumour in the mask, so there are no maps: they compare every voxel with the tumour.")
        return None
    return speaker.run(explain(case, model, mask, device=device, region=region, settings=FRLoss(**settings)))


def maps_answer(explanation: Explanation | None, geometry: Geometry, out: Path | None) -> dict[str, Any]:
    """Write each map beside the mask `out`, as ``<its stem>_<name>.nii.gz``, and return what a command's answer says of them.

    Maps that an earlier run left there are of another mask: they go.
    """
    if out is not None:
        for pattern in ("frloss-*", "clusters-predicted", "sfeb-effect", "boundary-attention"):
            for old in out.parent.glob(f"{glob.escape(stem(out))}_{pattern}.nii.gz"):
                old.unlink()
    if explanation is None:
        return {"maps": {}, "hard_negatives": [], "explanation": None}
    files: dict[str, str | None] = {}
    for name, values in explanation.maps.items():
        path = None if out is None else out.with_name(f"{stem(out)}_{name}.nii.gz")
        if path is not None:
            (write_map if values.dtype == np.float32 else write_mask)(values, geometry, path)
        files[name] = None if path is None else str(path)
    return {"maps": files, "hard_negatives": [_placed(row, geometry) for row in explanation.rows], "explanation": dict(explanation.details)}


def _placed(row: HardNegative, geometry: Geometry) -> dict[str, Any]:
    """Return a row with its centre as other programs count it: voxel (i, j, k) of the files, and RAS mm; None where no scale is known."""
    voxel, ras = place_in_file(row.centre, geometry)
    known, flat = geometry.unit == "mm", canonical_shape(geometry)[0] == 1
    return {
        **asdict(row),
        "centre": voxel,
        "size": amount(row.voxels, geometry, flat),
        "distance": f"{row.distance_mm:.1f} {'mm' if known else 'pixels'}",
        "volume_ml": row.volume_ml if known and not flat else None,
        "distance_mm": row.distance_mm if known else None,
        "ras_mm": tuple(round(c, 1) for c in ras) if known else None,
    }


def hard_negatives_table(rows: Sequence[Mapping[str, Any]], count: int) -> Table:
    """Draw what the `count` voxels are that look most like the tumour and are not marked as such."""
    table = Table(
        "no.", "size", "similarity", "enhancement", "to tumour", "likely cause", "voxel i, j, k",
        title=f"The {count} unmarked voxels most like the tumour, in groups", title_justify="left", box=None,
    )  # fmt: skip
    for row in rows:
        enhancement = "" if row["enhancement"] is None else f"{row['enhancement']:+.0%}"
        centre = ", ".join(map(str, row["centre"]))
        figures = row["size"], f"{row['similarity']:.2f}", enhancement, row["distance"]
        table.add_row(str(row["number"]), *figures, row["cause"], centre)
    return table
