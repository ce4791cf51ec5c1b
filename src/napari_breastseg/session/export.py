"""Give a case's mask to others: NIfTI on the original grid, and beside it where every voxel comes from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import TUMOUR, Geometry
from napari_breastseg.session.durable import aside, in_words, publish, settle
from napari_breastseg.session.journal import now
from napari_breastseg.session.rows import EditRow, MarkRow, ModelRow, PredictionRow

PROVENANCE = "provenance.json"


def code_version() -> str:
    """Return the version of napari-breastseg, or ``"unknown"`` when it runs from a folder that was never installed."""
    try:
        return version("napari-breastseg")
    except PackageNotFoundError:
        return "unknown"


def provenance(
    mask: npt.NDArray[np.uint8],
    edits: Sequence[EditRow],
    marks: Sequence[MarkRow],
    case: sqlite3.Row,
    predictions: Sequence[PredictionRow],
    models: Sequence[ModelRow],
) -> dict[str, Any]:
    """Return which examination, model, edits and versions made `mask`, JSON-ready; the latest prediction lies under it."""
    latest = predictions[-1] if predictions else None
    cards = [dict(model.card) for model in models if latest is not None and model.sha == latest.model]
    return {
        "case": {"id": case["case_id"], "name": case["name"], "sha256": case["hash"], "modality": case["modality"], "added": case["time"]},
        "mask": {"tumour_voxels": int(np.count_nonzero(mask == TUMOUR)), "exported": now()},
        "prediction": None if latest is None else asdict(latest),
        "model_card": cards[0] if cards else None,
        "annotation": {"seq": edits[-1].seq if edits else 0, "edits": [asdict(edit) for edit in edits]},
        "marks": [asdict(mark) for mark in marks],
        "versions": {"napari-breastseg": code_version(), "numpy": np.__version__},
        "use": "research only, not for clinical use",
    }


def write_export(folder: Path, case_id: str, mask: npt.NDArray[np.uint8], geometry: Geometry, said: dict[str, Any]) -> Path:
    """Write the mask and its provenance into `folder` and return the mask's file; see :meth:`Session.export`."""
    from napari_breastseg.io import write_mask

    target = folder / f"{case_id}.nii.gz"
    with in_words(f"The export to {folder}"), aside(folder) as temporary:
        write_mask(mask, geometry, target)
        temporary.write_text(json.dumps(said, indent=2), encoding="utf-8")
        settle(temporary)
        publish(temporary, folder / PROVENANCE)
    return target
