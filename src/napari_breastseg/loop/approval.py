"""What a person says is right as it is shown, and which therefore becomes annotation: a slice, or a case around its tumour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, UNDECIDED, Box, Geometry, slices
from napari_breastseg.session import Edit, Session

SLICE_TOOL, CASE_TOOL = "slice reviewed", "case done"
"""Tools of the edits by which the shown mask becomes annotation. They always train: the strokes beside them are the test."""
MARGIN = 10.0
"""In a case that is done, the shown mask is annotation within this distance (mm) of tumour or a correction, else of the middle slice."""

Labels = npt.NDArray[np.uint8]


def approved_case(mask: Labels, annotation: Labels, geometry: Geometry) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Return a box and its voxels, not annotated so far, that a case which is done approves.

    Where it shows nothing and nobody painted, they lie around its middle slice: a case without tumour teaches and is a test, too.

    Parameters
    ----------
    mask, annotation : ndarray, shape (z, y, x), uint8
        What is shown, and what was said so far.
    geometry : Geometry
    """
    near = (mask == TUMOUR) | (annotation != UNDECIDED)
    if not near.any():
        middle, reach = len(near) // 2, int(MARGIN / geometry.spacing[0])
        slab: Box = ((max(0, middle - reach), min(len(near), middle + reach + 1)), (0, near.shape[1]), (0, near.shape[2]))
        return slab, np.ones([stop - start for start, stop in slab], bool)
    ranges = []
    for axis, spacing in enumerate(geometry.spacing):
        found = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
        reach = int(np.ceil(MARGIN / spacing))
        ranges.append((max(0, int(found[0]) - reach), min(near.shape[axis], int(found[-1]) + 1 + reach)))
    box: Box = (ranges[0], ranges[1], ranges[2])
    place = slices(box)
    distance = ndimage.distance_transform_edt(~near[place], sampling=geometry.spacing)
    return box, (distance <= MARGIN) & (annotation[place] == UNDECIDED)


def approve(session: Session, case_id: str) -> None:
    """Record that a case is done: the mask that is shown becomes annotation around what it shows, and the case is marked."""
    mask = session.mask(case_id)
    box, where = approved_case(mask, session.annotation(case_id), session.case(case_id).geometry)
    if where.any():
        session.record(case_id, Edit(box, where, mask[slices(box)], CASE_TOOL, session.seq(case_id)))
    session.mark(case_id, "case-done", True)


def reopen(session: Session, case_id: str) -> bool:
    """Mark a case as open again if the person has gone back behind saying that it is done; tell whether that was so."""
    said = [mark.value for mark in session.marks(case_id) if mark.what == "case-done"]
    if not said or not said[-1] or session.is_done(case_id):
        return False
    session.mark(case_id, "case-done", False)
    return True


def record_mask(session: Session, case_id: str, mask: Labels) -> int:
    """Record a completely corrected mask (0, 1): an edit for each region that differs from the shown one, then what it confirms, as done.

    Returns
    -------
    int
        Regions that differed.
    """
    labels, count = ndimage.label(mask != session.mask(case_id), np.ones((3, 3, 3)))
    for number, found in enumerate(ndimage.find_objects(labels), 1):
        z, y, x = ((int(part.start), int(part.stop)) for part in found)
        edit = Edit((z, y, x), labels[found] == number, mask[found].astype(np.uint8), "corrected mask", session.seq(case_id))
        session.record(case_id, edit)
    approve(session, case_id)
    return int(count)
