"""Give a case to others: the mask as NIfTI on the original grid, images and labels as OME-Zarr, and where every voxel comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_breastseg.case import Case, Geometry
from napari_breastseg.session.disk.durable import aside, in_words, make_folder, publish, settle
from napari_breastseg.session.disk.images import create_image, fill


def write_mask_and_provenance(folder: Path, case_id: str, mask: npt.NDArray[np.uint8], geometry: Geometry, said: Mapping[str, Any]) -> Path:
    """Write the mask and its provenance into `folder` and return the mask's file; see :meth:`Session.export`."""
    from napari_breastseg.io import write_mask

    target = folder / f"{case_id}.nii.gz"
    with in_words(f"The export to {folder}"), aside(folder) as temporary:
        write_mask(mask, geometry, target)
        temporary.write_text(json.dumps(said, indent=2), encoding="utf-8")
        settle(temporary)
        publish(temporary, folder / f"{case_id}.provenance.json")
    return target


def write_ome_zarr(folder: Path, case_id: str, case: Case, labels: Mapping[str, npt.NDArray[np.uint8]], said: Mapping[str, Any]) -> Path:
    """Write the images and `labels` of a case into `folder` as one OME-Zarr 0.5 image and return it; see :meth:`Session.export`.

    The affine to the patient's axes, the phases' times and the provenance stand under a key of our own.
    """
    target = folder / f"{case_id}.ome.zarr"
    spacing = case.geometry.spacing
    own = {"affine": case.geometry.affine.tolist(), "times": list(case.times), "modality": case.modality, "provenance": dict(said)}
    with in_words(f"The export to {folder}"), aside(folder) as temporary:
        make_folder(folder)
        array = create_image(temporary, case.name, case.images.shape, np.float32, spacing, leading="t", times=case.times, own=own)
        for phase in range(case.phases):
            fill(array, case.phase(phase), first=phase)
        zarr.create_group(
            store=str(temporary), path="labels", zarr_format=3, attributes={"ome": {"version": "0.5", "labels": list(labels)}}
        )
        for name, values in labels.items():
            fill(create_image(temporary / "labels" / name, name, values.shape, np.uint8, spacing, label=True), values)
        settle(temporary)
        publish(temporary, target)
    return target
