"""What the healthy voxels that look most like tumour are: grouped, measured, and given a likely cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_breastseg.case import Case
from napari_breastseg.preprocess.breast_region import BreastRegion
from napari_breastseg.preprocess.overview import body_mask, first_post_contrast
from napari_breastseg.progress import Job, Progress

Cause = Literal["skin", "heart", "edge", "vessel-like", "contralateral", "other"]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
"""Voxel indices, shape (voxel, 3)."""

DESCRIBING = "Describing what looks like tumour"
LINK = 8.0
"""Hardest voxels within so many mm of each other belong to one component."""
SKIN = 5.0
"""mm from the air in front of the body: skin of 1 to 3 mm, and a voxel on either side of it."""
EDGE = 2.0
"""mm around the marked tumour that are its own edge: where a mask ends is a matter of a voxel of the working grid."""
SCALES = (1.0, 1.8, 3.0)
"""Widths (mm, standard deviation) at which tubes are looked for: vessels of about 2 to 8 mm."""
LENGTH, SLENDER, AROUND = 15.0, 3.0, 15.0
"""A vessel is at least so many mm long and so many times as long as wide, as far as it is seen within so many mm of the voxels."""


@dataclass(frozen=True)
class HardNegative:
    """One component: hardest voxels that lie together.

    Attributes
    ----------
    number : int
        From 1, the largest first; its number in the map of the hardest voxels.
    voxels : int
        The hardest ones in it.
    volume_ml : float
        Of these.
    similarity : float
        Mean cosine to the tumour's centre over its hardest voxels.
    enhancement : float or None
        Rise of the mean signal from before to the first phase after contrast, relative to before: 1.0 is a doubling. None without phases.
    distance_mm : float
        Gap between it and the tumour, from voxel edge to voxel edge; 0 if they touch.
    centre : tuple of int
        Its voxel (z, y, x) nearest to its centre of mass.
    cause : str
        The first that applies to at least half of its voxels: "skin" (within 5 mm of the air in front of the body), "heart" (behind the
        chest wall as :func:`breast_region` draws it: heart, great vessels, liver; only where both breasts are in view and the whole field
        of view is searched), "edge" (within 2 mm of the marked tumour), "vessel-like" (see :func:`tubular`), "contralateral" (in the other
        breast than the largest part of the tumour), else "other". Skin, chest wall and edge come first because place tells more than
        shape: skin cut at a slant looks like a tube. Vessels come before the side because a vessel in the other breast is a vessel.
    """

    number: int
    voxels: int
    volume_ml: float
    similarity: float
    enhancement: float | None
    distance_mm: float
    centre: tuple[int, int, int]
    cause: Cause


def list_hard_negatives(
    case: Case, tumour: Mask, hardest: Mask, similarity: Map, region: BreastRegion
) -> Job[tuple[list[HardNegative], npt.NDArray[np.uint8]]]:
    """Group the hardest voxels, describe each group, and number it in a map.

    Rows are ordered by volume: what misleads the model in most voxels stands first; the voxels are so alike that their similarity hardly
    tells them apart.

    Parameters
    ----------
    case : Case
    tumour, hardest : ndarray of bool, shape (z, y, x)
        Neither shares a voxel with the other; `tumour` is not empty.
    similarity : ndarray, shape (z, y, x)
        As the model said it, at the hardest voxels; elsewhere it is not read.
    region : BreastRegion
        Of the case.

    Returns
    -------
    rows : list of HardNegative
    numbers : ndarray, shape (z, y, x), uint8
        The row of each of the hardest voxels, 0 elsewhere; rows beyond the 255th share the number 255.
    """
    numbers = np.zeros(case.shape, np.uint8)
    if not hardest.any():
        return [], numbers
    found = np.argwhere(hardest)
    groups = _groups(found, case.geometry.spacing)
    yield Progress(0, len(groups), DESCRIBING)
    surroundings = _Surroundings(case, tumour, found, region)
    rows = []
    for number, places in enumerate(groups, 1):
        at = tuple(places.T)
        numbers[at] = min(number, 255)
        rows.append(
            HardNegative(
                number=number,
                voxels=len(places),
                volume_ml=len(places) * case.geometry.voxel_ml,
                similarity=float(similarity[at].mean()),
                enhancement=surroundings.enhancement(places),
                distance_mm=surroundings.distance(places),
                centre=_centre(places),
                cause=surroundings.cause(places),
            )
        )
        yield Progress(number, len(groups), DESCRIBING)
    return rows, numbers


def _groups(places: Places, spacing: tuple[float, float, float]) -> list[Places]:
    """Split voxels into groups that lie further than `LINK` apart, the largest first."""
    pairs = cKDTree(places * np.array(spacing)).query_pairs(max(LINK, *spacing), output_type="ndarray")
    linked = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places)))
    count, group = connected_components(linked, directed=False)
    return sorted((places[group == index] for index in range(count)), key=len, reverse=True)


def _centre(places: Places) -> tuple[int, int, int]:
    nearest = np.square(places - places.mean(axis=0)).sum(axis=1).argmin()
    z, y, x = (int(index) for index in places[nearest])
    return z, y, x


class _Surroundings:
    """What a case has around the hardest voxels: the air, the chest wall, the midline, the tumour and the contrast."""

    def __init__(self, case: Case, tumour: Mask, hardest: Places, region: BreastRegion) -> None:
        self._spacing = np.array(case.geometry.spacing)
        first = first_post_contrast(case)
        post = case.phase(first)
        self._post = post
        self._pre: Map | None = case.phase(0) if case.phases > 1 else None
        self._bright = post if self._pre is None else post - self._pre
        self._inside = region.inside
        near = _box_around(hardest, np.ceil(SKIN / self._spacing).astype(int) + 2, case.shape)
        air = (_air_in_front(post) & region.inside)[near]
        air &= ~ndimage.binary_erosion(air, border_value=1)  # its surface: the nearest air lies there
        self._air = self._tree(air, near) if air.any() else None
        # The gap between the edges of two voxels is the distance from the one's centre to the nearest centre among the other's neighbours.
        close = _box_around(np.argwhere(tumour), np.ones(3, int), case.shape)
        part = tumour[close]
        self._tumour = self._tree(ndimage.binary_dilation(part, np.ones((3, 3, 3))) & ~part, close)
        # The boxes of two breasts reach over the midline by the same margin.
        self._middle = (region.boxes[0][2][1] + region.boxes[1][2][0]) / 2 if len(region.boxes) == 2 else None
        labels, count = ndimage.label(part, np.ones((3, 3, 3)))
        largest = 1 + int(np.bincount(labels.ravel(), minlength=count + 1)[1:].argmax())
        self._tumour_x = close[2].start + float(np.flatnonzero((labels == largest).any(axis=(0, 1))).mean())

    def _tree(self, mask: Mask, box: tuple[slice, ...]) -> cKDTree:
        """Return a tree of the voxels of a mask that was cut out by `box`, in mm."""
        return cKDTree((np.argwhere(mask) + [part.start for part in box]) * self._spacing)

    def enhancement(self, places: Places) -> float | None:
        if self._pre is None:
            return None
        at = tuple(places.T)
        before = float(self._pre[at].mean())
        return float(self._post[at].mean()) / before - 1 if before > 0 else None

    def distance(self, places: Places) -> float:
        """Gap to the tumour in mm, for voxels that are not tumour."""
        return float(self._gaps(places).min())

    def _gaps(self, places: Places) -> npt.NDArray[np.float64]:
        gaps: npt.NDArray[np.float64] = self._tumour.query(places * self._spacing)[0]
        return gaps

    def cause(self, places: Places) -> Cause:
        if self._air is not None and _mostly(self._air.query(places * self._spacing)[0] <= SKIN):
            return "skin"
        if _mostly(~self._inside[places[:, 1], places[:, 2]]):
            return "heart"
        if _mostly(self._gaps(places) <= EDGE):
            return "edge"
        if tubular(self._bright, places, self._spacing):
            return "vessel-like"
        if self._middle is not None and _mostly((places[:, 2] < self._middle) != (self._tumour_x < self._middle)):
            return "contralateral"
        return "other"


def tubular(bright: Map, places: Places, spacing: npt.NDArray[np.float64]) -> bool:
    """Tell whether voxels lie on a bright tube, by the eigenvalues of the Hessian (after Frangi et al., MICCAI 1998).

    A voxel is on a tube if, at the scale where the image curves most, the curvature across is strong in both directions (the weaker at
    least 0.4 of the stronger: no sheet) and weak along (at most 0.5 of their geometric mean: no blob). At least half of the voxels must be
    so, and what they are part of must be `LENGTH` mm long and `SLENDER` times as long as wide, which lymph nodes and the nipple are not.

    Parameters
    ----------
    bright : ndarray, shape (z, y, x)
        The image in which vessels are bright.
    places : ndarray, shape (voxel, 3)
    spacing : ndarray
        mm (z, y, x).
    """
    margin = np.ceil(AROUND / spacing).astype(int)
    low = np.maximum(places.min(axis=0) - margin, 0)
    part = bright[tuple(slice(a, b) for a, b in zip(low, places.max(axis=0) + margin + 1, strict=True))]
    local = tuple((places - low).T)
    judged = part > part[local].mean() / 2
    judged[local] = True
    tube = np.zeros(part.shape, bool)
    tube[judged] = _on_tube(part, judged, spacing)
    if not _mostly(tube[local]):
        return False
    labels, _ = ndimage.label(tube, np.ones((3, 3, 3)))
    touched = np.bincount(labels[local])
    touched[0] = 0
    whole = np.argwhere(labels == touched.argmax()) * spacing
    _, _, axes = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
    length = float(np.ptp(whole @ axes[0]) + spacing.mean())
    width = float(np.sqrt(4 / np.pi * len(whole) * spacing.prod() / length))
    return length >= max(LENGTH, SLENDER * width)


def _on_tube(image: Map, judged: Mask, spacing: npt.NDArray[np.float64]) -> Mask:
    """Say of each of the judged voxels whether the image curves there as a bright tube does."""
    count = int(judged.sum())
    strongest, verdict = np.zeros(count), np.zeros(count, bool)
    for scale in SCALES:
        hessian = np.empty((count, 3, 3))
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            order = np.bincount([i, j], minlength=3)
            second = ndimage.gaussian_filter(image, np.maximum(scale / spacing, 0.5), order)[judged]
            hessian[:, i, j] = hessian[:, j, i] = second * scale**2 / (spacing[i] * spacing[j])
        across, weaker, along = np.linalg.eigvalsh(hessian).T  # ascending: most negative first
        strength = np.where(across < 0, np.linalg.norm(hessian, axis=(1, 2)), 0)
        tube = (weaker <= 0.4 * across) & (np.abs(along) <= 0.5 * np.sqrt(np.abs(across * weaker)))
        verdict = np.where(strength > strongest, tube, verdict)
        strongest = np.maximum(strongest, strength)
    return verdict


def _air_in_front(post: Map) -> Mask:
    """What is not body and is reached from the front edge of the image; the lungs are not."""
    labels, _ = ndimage.label(~body_mask(ndimage.uniform_filter(post, 3)))
    front = np.unique(labels[:, 0])
    return np.isin(labels, front[front > 0])


def _box_around(places: Places, margin: npt.NDArray[np.int64], shape: tuple[int, int, int]) -> tuple[slice, ...]:
    low, high = np.maximum(places.min(0) - margin, 0), np.minimum(places.max(0) + margin + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _mostly(flags: npt.NDArray[np.bool_]) -> bool:
    return bool(flags.mean() >= 0.5)
