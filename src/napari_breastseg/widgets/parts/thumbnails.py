"""Small pictures for the timeline: a slice of the case with what an entry changed. Knows neither Qt nor napari."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Box, Case, box_around
from napari_breastseg.session import Moment, Session

SIZE = 44
"""Pixels of a picture's side."""
TUMOUR_COLOUR, ADDED, REMOVED = (230, 159, 0), (204, 121, 167), (86, 180, 233)
"""Orange, reddish purple and sky blue of the Okabe-Ito palette, as in the viewer."""
_MARGIN, _SMALLEST = 0.35, 20.0
"""Room around what changed, as a part of it, and the smallest side (mm) that is shown."""

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def thumbnail(session: Session, case_id: str, case: Case, moment: Moment) -> Rgb:
    """Return a picture, shape (SIZE, SIZE, 3), of what edits changed, or of the tumour that was predicted."""
    if moment.kind == "edits":
        compared = session.compare(case_id, moment.before, moment.version)
        if compared.box is not None:
            added, removed = compared.after > compared.before, compared.before > compared.after
            return _picture(case, compared.box, (added, ADDED), (removed, REMOVED))
    mask = session.mask(case_id, moment.version) == TUMOUR
    box = box_around(mask) or ((case.shape[0] // 2, case.shape[0] // 2 + 1), (0, case.shape[1]), (0, case.shape[2]))
    (z0, z1), (y0, y1), (x0, x1) = box
    return _picture(case, box, (mask[z0:z1, y0:y1, x0:x1], TUMOUR_COLOUR))


def _picture(case: Case, box: Box, *drawn: tuple[Mask, tuple[int, int, int]]) -> Rgb:
    """Draw the slice with most voxels of the masks in their colours, cut out around them as a square in mm."""
    (z0, _), (y0, y1), (x0, x1) = box
    z = int(sum(mask.sum(axis=(1, 2)) for mask, _ in drawn).argmax())
    _, dy, dx = case.geometry.spacing
    middle = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
    side = max((y1 - y0) * dy, (x1 - x0) * dx) * (1 + _MARGIN)
    side = min(max(side, _SMALLEST), max(case.shape[1] * dy, case.shape[2] * dx))
    steps = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    rows, columns = middle[0] + steps * side / dy, middle[1] + steps * side / dx
    low = max(0, int(rows[0])), max(0, int(columns[0]))
    image = np.asarray(case.images[min(1, case.phases - 1), z0 + z, low[0] : int(rows[-1]) + 2, low[1] : int(columns[-1]) + 2], np.float32)
    grey = _sampled(np.nan_to_num(image), rows - low[0], columns - low[1], 1)
    darkest, lightest = np.percentile(grey, (2, 99.5))
    grey = np.clip((grey - darkest) / max(float(lightest - darkest), 1e-6), 0, 1) * 255
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    for mask, colour in drawn:
        where = _sampled(mask[z].astype(np.float32), rows - y0, columns - x0, 0) > 0.5
        picture[where] = 0.35 * picture[where] + 0.65 * np.array(colour)
    return picture.astype(np.uint8)


def _sampled(
    plane: npt.NDArray[np.float32], rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], order: int
) -> npt.NDArray[np.float32]:
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(plane, grid, order=order, mode="constant", cval=0.0), np.float32)
