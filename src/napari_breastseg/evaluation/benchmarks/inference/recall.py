"""How many tumours the coarse pass sees, by their size: what would be lost if nothing but its candidates were refined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.inference import predict
from napari_breastseg.methods.model import Model
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import Job, Progress, run

DIAMETERS = (5.0, 8.0, 12.0, 20.0, 35.0)
SHAPE = (96, 160, 160)
FIRST_SEED = 5000
FOUND = 0.1
"""Share of a tumour's voxels that a mask must hold to have found it."""


def measure_recall(model: Model, cases: int, diameters: Sequence[float] = DIAMETERS) -> Job[dict[str, Any]]:
    """Predict phantoms with one tumour each and count those that either pass finds.

    Returns
    -------
    dict
        JSON-ready: for each diameter (mm) the share found by the coarse and by the refined pass, and false parts per case.
    """
    rows = []
    for row, diameter in enumerate(diameters):
        found: dict[str, list[tuple[bool, int]]] = {"coarse": [], "refined": []}
        for number in range(cases):
            yield Progress(row * cases + number, len(diameters) * cases, f"Tumours of {diameter:g} mm")
            phantom = make_phantom(FIRST_SEED + number, SHAPE, phases=2, lesions=1, diameter=diameter)
            if not phantom.tumour.any():  # there was no room for it
                continue
            prediction = run(predict(phantom.case, model, device="cpu"))
            for name, masks in (("coarse", prediction.coarse), ("refined", prediction.refined)):
                found[name].append(_judged(masks > 0, phantom.tumour > 0))
        rows.append(
            {
                "diameter_mm": diameter,
                "cases": len(found["coarse"]),
                **{f"{name}_recall": float(np.mean([hit for hit, _ in seen])) for name, seen in found.items()},
                **{f"{name}_false_parts": float(np.mean([parts for _, parts in seen])) for name, seen in found.items()},
            }
        )
    return {"shape": list(SHAPE), "found_from_share": FOUND, "rows": rows}


def _judged(mask: npt.NDArray[np.bool_], tumour: npt.NDArray[np.bool_]) -> tuple[bool, int]:
    """Tell whether a tumour was found, and how many parts of the mask lie apart from it."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    touching = np.unique(labels[tumour & mask])
    return bool((mask & tumour).sum() >= FOUND * tumour.sum()), count - len(touching)
