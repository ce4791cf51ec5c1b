"""Give a case's mask to others: NIfTI on the original grid, and beside it where every voxel comes from."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.session.cases import Cases
from napari_breastseg.session.durable import aside, in_words, publish, settle
from napari_breastseg.session.journal import now
from napari_breastseg.session.models import Models
from napari_breastseg.session.predictions import Predictions
from napari_breastseg.session.rows import EditRow, MarkRow

PROVENANCE = "provenance.json"


def code_version() -> str:
    """Return the version of napari-breastseg, or ``"unknown"`` when it runs from a folder that was never installed."""
    try:
        return version("napari-breastseg")
    except PackageNotFoundError:
        return "unknown"


def provenance(
    case_id: str,
    mask: npt.NDArray[np.uint8],
    edits: list[EditRow],
    marks: list[MarkRow],
    cases: Cases,
    predictions: Predictions,
    models: Models,
) -> dict[str, Any]:
    """Return which model, edits and versions made `mask`, JSON-ready."""
    row = cases.row(case_id)
    case = cases.get(case_id)
    made = predictions.rows(case_id)
    latest = made[-1] if made else None
    known = {model.sha: model for model in models.rows()}
    model = known.get(latest.model) if latest else None
    tumour = int(np.count_nonzero(mask == 1))
    return {
        "case": {"id": case_id, "name": row["name"], "sha256": row["hash"], "modality": row["modality"], "added": row["time"]},
        "mask": {"tumour_voxels": tumour, "tumour_ml": tumour * case.geometry.voxel_ml, "exported": now()},
        "prediction": None
        if latest is None
        else {"id": latest.id, "model": latest.model, "time": latest.time, "details": dict(latest.details)},
        "model_card": dict(model.card) if model else None,
        "annotation": {
            "seq": edits[-1].seq if edits else 0,
            "first_edit": edits[0].time if edits else None,
            "last_edit": edits[-1].time if edits else None,
            "edits": [{"seq": e.seq, "time": e.time, "tool": e.tool, "voxels": e.voxels, "undoes": e.undoes} for e in edits],
        },
        "marks": [{"what": m.what, "value": m.value, "time": m.time, "seq": m.seq} for m in marks],
        "versions": {"napari-breastseg": code_version(), "numpy": np.__version__},
        "not_for_clinical_use": True,
    }


def export_case(
    case_id: str,
    folder: Path,
    mask: npt.NDArray[np.uint8],
    edits: list[EditRow],
    marks: list[MarkRow],
    cases: Cases,
    predictions: Predictions,
    models: Models,
) -> Path:
    """Write the mask and its provenance into `folder` and return the mask's file; see :meth:`Session.export`."""
    from napari_breastseg.io import write_mask

    target = folder / f"{case_id}.nii.gz"
    said = provenance(case_id, mask, edits, marks, cases, predictions, models)
    with in_words(f"The export to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_mask(mask, cases.get(case_id).geometry, target)
        with aside(folder) as temporary:
            temporary.write_text(json.dumps(said, indent=2), encoding="utf-8")
            settle(temporary)
            publish(temporary, folder / PROVENANCE)
    return target
