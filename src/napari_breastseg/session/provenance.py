"""Where a mask comes from: examination, model and its ancestors, edits, programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from napari_breastseg.case import TUMOUR
from napari_breastseg.session.disk.text import from_json
from napari_breastseg.session.journal import now
from napari_breastseg.session.marks import events, marks
from napari_breastseg.session.models import Models
from napari_breastseg.session.opening import SOFTWARE
from napari_breastseg.session.parts import Parts
from napari_breastseg.session.rows import Version
from napari_breastseg.software import software


def provenance(parts: Parts, case_id: str, version: Version) -> dict[str, Any]:
    """Return all that the session knows of how the mask of a version came about; see :meth:`Session.provenance`."""
    case, journal = parts.cases.row(case_id), parts.journal
    rows = {row.id: row for row in parts.predictions.rows(case_id)}
    mask = parts.timeline.mask(case_id, version)  # which refuses a version that there is not
    prediction = None if version.prediction is None else rows[version.prediction]
    said = {
        "case": {
            "id": case_id,
            "name": case["name"],
            "sha256": case["hash"],
            "modality": case["modality"],
            "added": case["time"],
            "linked": case["link"] is not None,
            "metadata": from_json(case["metadata"], f"The case {case_id}"),
        },
        "mask": {
            "version": asdict(version),
            "tumour_voxels": int(np.count_nonzero(mask == TUMOUR)),
            "tumour_comes_from": [asdict(share) for share in parts.timeline.compare(case_id, Version(0, None), version).shares],
        },
        "prediction": None if prediction is None else asdict(prediction),
        "models": [] if prediction is None else list(_lineage(parts.models, prediction.model)),
        "annotation": {
            "seq": version.seq,
            "edits": [asdict(edit) for edit in parts.annotations.edits(case_id)[: version.seq]],
            "marks": [asdict(mark) for mark in marks(journal, case_id) if mark.seq <= version.seq],
        },
        "software": {
            "written_with": [{"since": event.time, **event.details} for event in events(journal) if event.kind == SOFTWARE],
            "exported_with": software(),
        },
        "exported": now(),
        "use": "research only, not for clinical use",
    }

    return {key: _without_nan(value) for key, value in said.items()}


def _without_nan(value: Any) -> Any:
    """Return a JSON value with None for numbers that JSON cannot say, such as the Dice of an empty mask."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lineage(models: Models, sha: str | None) -> Iterator[dict[str, Any]]:
    """Describe a model and the models that it came from, the nearest first, with the learning round that made each."""
    known = {row.sha: row for row in models.rows()}
    rounds = {row.candidate: row for row in models.rounds()}
    while sha in known:
        row, learned = known.pop(sha), rounds.get(sha)
        yield {
            "sha256": row.sha,
            "made": row.time,
            "card": dict(row.card),
            "learned": None if learned is None else asdict(learned),
        }
        sha = row.parent
