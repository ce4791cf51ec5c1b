"""Synthetic mammograms with exact truth: the breast of the 3-D phantom, compressed and projected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.phantom.anatomy import FAT, GLAND, NIPPLE, SKIN, make_anatomy
from napari_breastseg.phantom.lesions import draw_lesion

View = Literal["CC", "MLO"]
Plane = npt.NDArray[np.float32]
FIELD = 180.0
"""Height of the image, mm."""
SLABS, THICK = 32, 3.2
"""Slices along the direction of the rays, and how thick they are before compression, mm."""
DENSITY = {FAT: 0.0, GLAND: 1.0, SKIN: 1.0, NIPPLE: 1.0}
"""Attenuation of the tissues relative to fat and gland, which differ by about 0.03 per mm at 20 keV."""
COMPRESSED = 50.0
"""Thickness of the compressed breast, mm."""
LEAST = 64


@dataclass(frozen=True)
class MammogramPhantom:
    """A synthetic mammogram and its truth, all arrays of shape (1, y, x).

    Attributes
    ----------
    case : Case
    mask : ndarray, uint8
        1 where the rays cross a mass, at least a third of its thickest part.
    breast, muscle : ndarray of bool
    """

    case: Case
    mask: npt.NDArray[np.uint8]
    breast: npt.NDArray[np.bool_]
    muscle: npt.NDArray[np.bool_]


def make_mammogram(seed: int, shape: tuple[int, int] = (512, 384), view: View | None = None, masses: int | None = None) -> MammogramPhantom:
    """Make one mammogram, the chest wall on the left; the same seed and options give the same pixels.

    The rays run along z of the 3-D phantom for both views, of which the oblique one has a pectoral muscle. Compression spreads the breast
    to an even thickness but for its border, so that the brightness is that of the mean tissue along a ray times this thickness.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Pixels (y, x).
    view : str, optional
        "CC" or "MLO"; drawn if not given.
    masses : int, optional
        Drawn (0 to 2, mostly 1) if not given.

    Raises
    ------
    InputError
        If the image is smaller than 64 pixels along an axis.
    """
    if min(shape) < LEAST:
        raise InputError(f"A mammogram phantom needs at least {LEAST} pixels along each axis. Ask for more.")
    rng = np.random.default_rng(seed)
    chosen: View = view or ("CC", "MLO")[int(rng.integers(2))]
    pixel = FIELD / shape[0]
    # In the 3-D phantom y runs from the nipple to the chest wall and x across the breast: the image is turned.
    spacing = (THICK, pixel, pixel)
    anatomy = make_anatomy(rng, (SLABS, shape[1], shape[0]), spacing, bilateral=False)
    near = ndimage.binary_dilation(anatomy.breast, np.ones((3, 3, 3)), iterations=max(2, round(4 / pixel)))
    solid = anatomy.tissue * (near & np.isin(anatomy.tissue, list(DENSITY)))
    wanted = int(rng.choice([0, 1, 2], p=[0.2, 0.7, 0.1])) if masses is None else masses
    size = [float(np.exp(rng.uniform(np.log(7), np.log(35)))) for _ in range(wanted)]
    lesions = [lesion for each in size if (lesion := draw_lesion(rng, anatomy, spacing, each)) is not None]
    breast = ndimage.binary_fill_holes(ndimage.binary_opening(_turned((solid > 0).sum(0)) >= 2, iterations=2))
    wall = int(breast.sum(0).argmax())  # what lies behind the widest part is the body
    breast = _from_wall(breast, wall)
    exposure = _thickness(rng, breast, pixel) * (0.45 + 0.55 * _from_wall(_turned(_density(solid)), wall))
    paths = [_from_wall(_turned(lesion.cover.sum(0)), wall) * THICK / COMPRESSED for lesion in lesions]
    for path in paths:  # compression spreads the breast, but not a mass
        exposure += rng.uniform(0.35, 0.7) * path * breast
    muscle = _muscle(rng, shape) if chosen == "MLO" else np.zeros(shape, bool)
    exposure = np.where(muscle, np.maximum(exposure, 0) + rng.uniform(0.35, 0.7), exposure)
    image = _on_film(rng, exposure.astype(np.float32))
    mask = np.zeros(shape, np.uint8)
    for path in paths:
        mask |= ((path > path.max() / 3) & breast).astype(np.uint8)
    case = Case(
        name=f"mammogram-phantom-{seed:04d}",
        images=image[None, None],
        geometry=Geometry((1.0, pixel, pixel), np.diag([-pixel, -pixel, 1.0, 1.0]), (shape[1], shape[0], 1)),
        modality="mammography",
        metadata={"phantom_seed": seed, "view": chosen, "masses": len(lesions)},
    )
    return MammogramPhantom(case, mask[None], (breast | muscle)[None], muscle[None])


def _density(solid: npt.NDArray[np.uint8]) -> Plane:
    """Mean attenuation along the rays, from 0, all fat, to 1, all gland; shape (y, x) of the phantom."""
    tissue = np.zeros(solid.shape, np.float32)
    for label, value in DENSITY.items():
        tissue[solid == label] = value
    path: Plane = (tissue.sum(0) / np.maximum((solid > 0).sum(0), 1)).astype(np.float32)
    return path


def _turned(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Turn (y, x) of the phantom, nipple at the top, to (y, x) of the image, chest wall on the left."""
    return np.ascontiguousarray(plane[::-1].T.astype(np.float32))


def _from_wall(plane: npt.NDArray[Any], wall: int) -> npt.NDArray[Any]:
    """Move a plane (y, x) to the left so that it begins at the chest wall."""
    return np.pad(plane[:, wall:], ((0, 0), (0, wall)))


def _thickness(rng: np.random.Generator, breast: npt.NDArray[np.bool_], pixel: float) -> Plane:
    """Thickness of the compressed breast, 1 but for a rounded border of 10 to 20 mm."""
    closed = np.pad(breast, ((0, 0), (1, 0)), mode="edge")  # at the chest wall it goes on
    away = ndimage.distance_transform_edt(closed, sampling=pixel)[:, 1:]
    inward = np.clip(away / rng.uniform(10, 20), 0, 1)
    thickness: Plane = (np.sqrt(1 - (1 - inward) ** 2) * breast).astype(np.float32)
    return thickness


def _muscle(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pectoral muscle: a bulging triangle in the upper corner at the chest wall."""
    h, w = shape
    y, x = np.mgrid[:h, :w]
    deep, wide = h * rng.uniform(0.35, 0.75), w * rng.uniform(0.25, 0.5)
    bulge = rng.uniform(-0.05, 0.1) * np.sin(np.pi * np.clip(y / deep, 0, 1))
    muscle: npt.NDArray[np.bool_] = (y < deep) & (x / wide < 1 - y / deep + bulge)
    return muscle


def _on_film(rng: np.random.Generator, exposure: Plane) -> Plane:
    """Blur, quantum noise that grows where fewer quanta come through, and 12 bits."""
    quanta = rng.uniform(2000, 8000) * np.exp(-1.5 * exposure)
    noisy = exposure + ndimage.gaussian_filter(rng.normal(size=exposure.shape), 0.6) * 2 / np.sqrt(quanta)
    soft = ndimage.gaussian_filter(noisy, 0.7)
    shown: Plane = np.round(np.clip(200 + soft * rng.uniform(1800, 2600), 0, 4095)).astype(np.float32)
    return shown
