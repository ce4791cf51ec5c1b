"""A prone thorax with two breasts: skin, fat, fractal fibroglandular tissue, chest wall, heart, liver, lungs and nipples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.phantom.fields import Field, Shape, Spacing, coordinates, fractal_noise, smooth_noise, stamp

AIR, FAT, GLAND, SKIN, MUSCLE, LUNG, HEART, LIVER, VESSEL, NIPPLE, NODE, LESION, BENIGN = range(13)
TISSUES = ("air", "fat", "gland", "skin", "muscle", "lung", "heart", "liver", "vessel", "nipple", "node", "lesion", "benign mass")


@dataclass
class Anatomy:
    """Tissue labels and what later steps need to place things in them.

    Attributes
    ----------
    tissue : ndarray, shape (z, y, x), uint8
        Index into ``TISSUES``.
    breast : ndarray of bool
        Voxels in front of the chest wall and behind the skin.
    depth : ndarray, float32
        Distance to the nearest air in mm (0 in air).
    nipples : list of ndarray
        Positions (z, y, x) in mm from the centre of the grid.
    """

    tissue: npt.NDArray[np.uint8]
    breast: npt.NDArray[np.bool_]
    depth: Field
    nipples: list[npt.NDArray[np.float64]]


def make_anatomy(rng: np.random.Generator, shape: Shape, spacing: Spacing, bilateral: bool) -> Anatomy:
    """Draw the anatomy that fills a field of view of ``shape * spacing`` mm, both breasts or the right one alone."""
    z, y, x = coordinates(shape, spacing)
    extent = np.array(shape) * np.array(spacing)
    wall_y = extent[1] * (rng.uniform(0.02, 0.14) if bilateral else rng.uniform(0.28, 0.42))
    middle = 0.0 if bilateral else extent[2] * rng.uniform(0.42, 0.55)
    bend = rng.uniform(0.0012, 0.0022)
    ripple = 4 * smooth_noise(rng, shape, spacing, 60.0)
    # Depth behind the chest wall in mm; negative in front of it. The thorax curves away from the midline.
    behind = y - wall_y - bend * (x - middle) ** 2 + ripple
    inside = np.broadcast_to(behind > 0, shape).copy()
    nipples = []
    figure = int(rng.integers(2**32))
    for side in (-1, 1) if bilateral else (-1,):
        # Both breasts are drawn alike, with the small differences that two breasts of one person have.
        mask, nipple = _breast(np.random.default_rng(figure), rng, (z, y, x), extent, wall_y, middle, side, bilateral)
        inside |= mask
        nipples.append(nipple)
    body = ndimage.binary_fill_holes(inside)
    padded = np.pad(body, ((0, 0), (1, 0), (0, 0)))
    depth = ndimage.distance_transform_edt(padded, sampling=spacing)[:, 1:].astype(np.float32)

    tissue = np.where(body, FAT, AIR).astype(np.uint8)
    breast = body & (behind < 0)
    _gland(rng, tissue, breast, nipples, spacing)
    _thorax(rng, tissue, body, behind, (z, y, x), middle)
    thickness = rng.uniform(1.2, 2.6) + 0.5 * smooth_noise(rng, shape, spacing, 40.0)
    tissue[body & (depth <= np.maximum(thickness, min(spacing)))] = SKIN
    for nipple in nipples:
        cover = np.zeros(shape, np.float32)
        for step in np.linspace(0, 1, 6):
            stamp(cover, nipple + np.array([0, 6 * step - 4, 0]), rng.uniform(3.0, 6.0), spacing)
        tissue[cover > 0.5] = NIPPLE
    _nodes(rng, tissue, extent, wall_y, middle, spacing)
    return Anatomy(tissue, breast & (tissue != SKIN), depth, nipples)


def _breast(
    rng: np.random.Generator, own: np.random.Generator, grid: tuple[Field, Field, Field], extent: npt.NDArray[np.float64],
    wall_y: float, middle: float, side: int, bilateral: bool,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:  # fmt: skip
    z, y, x = grid
    rx = own.uniform(0.93, 1.07) * extent[2] * (rng.uniform(0.17, 0.23) if bilateral else rng.uniform(0.33, 0.42))
    rz = extent[0] * rng.uniform(0.38, 0.55)
    reach = own.uniform(0.9, 1.0) * min(extent[1] / 2 + wall_y - rng.uniform(6, 20), rx * rng.uniform(1.1, 2.2))
    x0 = middle + side * (rx * rng.uniform(1.08, 1.2) if bilateral else extent[2] * rng.uniform(0.40, 0.50))
    z0 = rng.uniform(-0.06, 0.06) * extent[0]
    power = rng.uniform(1.8, 3.0)
    front = (wall_y + 25 - y) / (reach + 25)
    droop = rng.uniform(-0.15, 0.15)
    across = np.abs((x - x0) / rx) ** power + np.abs((z - z0 - droop * (wall_y - y)) / rz) ** 2.2
    mask = (across + np.clip(front, 0, None) ** rng.uniform(1.8, 3.0) < 1) & (y < wall_y + 30)
    return mask, np.array([z0 + droop * reach, wall_y - reach, x0])


def _gland(
    rng: np.random.Generator,
    tissue: npt.NDArray[np.uint8],
    breast: npt.NDArray[np.bool_],
    nipples: list[npt.NDArray[np.float64]],
    spacing: Spacing,
) -> None:
    """Threshold fractal noise, stretched towards the nipple and denser behind it, to a density of 3 to 60 % of the breast."""
    shape = tissue.shape
    assert len(shape) == 3
    z, y, x = coordinates(shape, spacing)
    noise = fractal_noise(rng, shape, spacing, rng.uniform(14, 36), 5, (1.0, rng.uniform(1.2, 3.0), 1.0), rng.uniform(0.62, 0.95))
    nearest = np.full(shape, np.inf, np.float32)
    for nipple in nipples:
        radius = np.sqrt((z - nipple[0]) ** 2 + (0.6 * (y - nipple[1] - 15)) ** 2 + (x - nipple[2]) ** 2)
        np.minimum(nearest, radius, out=nearest)
    score = noise - nearest / rng.uniform(18, 45)
    density = rng.choice([rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.3), rng.uniform(0.25, 0.6)])
    if breast.any():
        tissue[breast & (score > np.quantile(score[breast], 1 - density))] = GLAND
    # Cooper's ligaments: thin sheets where another noise crosses zero.
    sheets = np.abs(fractal_noise(rng, shape, spacing, 22.0, 3, (1.0, 1.8, 1.0))) < rng.uniform(0.02, 0.06)
    tissue[breast & sheets & (tissue == FAT)] = GLAND


def _thorax(
    rng: np.random.Generator,
    tissue: npt.NDArray[np.uint8],
    body: npt.NDArray[np.bool_],
    behind: Field,
    grid: tuple[Field, Field, Field],
    middle: float,
) -> None:
    z, y, x = grid
    muscle = rng.uniform(7, 16)
    tissue[body & (behind > 0) & (behind <= muscle)] = MUSCLE
    fat = rng.uniform(2, 8)
    ribs = rng.uniform(8, 14)
    inner = body & (behind > muscle + fat + ribs)
    tissue[body & (behind > muscle + fat) & ~inner] = MUSCLE
    tissue[inner] = LUNG
    dome = rng.uniform(-0.5, 0.1) * z.max()
    tissue[inner & (z < dome - 0.008 * (x - middle + 50) ** 2 - 0.004 * (behind - 70) ** 2 + 25)] = LIVER
    heart = ((x - middle - 15) / rng.uniform(45, 60)) ** 2 + ((behind - muscle - fat - ribs - 38) / rng.uniform(36, 45)) ** 2
    tissue[inner & (heart + ((z - rng.uniform(-10, 30)) / rng.uniform(45, 70)) ** 2 < 1)] = HEART


def _nodes(
    rng: np.random.Generator, tissue: npt.NDArray[np.uint8], extent: npt.NDArray[np.float64], wall_y: float, middle: float, spacing: Spacing
) -> None:
    """Lymph nodes: small smooth ovals in the axilla and now and then in the breast."""
    for _ in range(int(rng.integers(0, 5))):
        side = rng.choice([-1.0, 1.0])
        place = np.array([
            rng.uniform(0.05, 0.4) * extent[0],
            wall_y + rng.uniform(-15, 25),
            middle + side * rng.uniform(0.32, 0.46) * extent[2],
        ])  # fmt: skip
        cover = np.zeros(tissue.shape, np.float32)
        along = rng.normal(size=3)
        along /= np.linalg.norm(along)
        radius = rng.uniform(1.5, 4.0)
        for step in np.linspace(-1, 1, 5):
            stamp(cover, place + step * radius * along, radius, spacing)
        tissue[(cover > 0.5) & (tissue == FAT)] = NODE
