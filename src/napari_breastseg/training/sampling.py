"""Training volumes on a model's working grid, and the augmented patches that are cut from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import block_reduce

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Case, whole
from napari_breastseg.methods.preset import Preset
from napari_breastseg.preprocess.intensity import MISSING, with_clock
from napari_breastseg.preprocess.resample import resample, working_shape

Points = npt.NDArray[np.intp]
KEPT = 4000
"""Candidate centres remembered per kind and volume."""
HALF_RESOLUTION = 0.15
"""Share of the patches that are shown at half resolution."""
FEWER_PHASES = 0.3
"""Share of the patches of a series that lack some of its phases."""


@dataclass(frozen=True)
class Volume:
    """One case on the working grid.

    Attributes
    ----------
    channels : ndarray, shape (channel, z, y, x), float16
    labels : ndarray, shape (z, y, x), uint8
        0, 1, or 255 where not decided.
    centres : dict of str to ndarray, shape (n, 3)
        Candidate patch centres: "tumour", "bright" (enhancing but healthy: vessels, skin, heart) and "body".
    clock : tuple of float
        See :func:`~napari_breastseg.preprocess.intensity.with_clock`.
    """

    channels: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]
    centres: dict[str, Points]
    clock: tuple[float, ...] = ()


def make_volume(case: Case, labels: npt.NDArray[np.uint8], preset: Preset, seed: int = 0) -> Volume:
    """Bring a case and its labels, shape (z, y, x), to the preset's working grid."""
    shape = working_shape(case.shape, case.geometry.spacing, preset.grid_spacing(case))
    inputs = preset.inputs(preset.overview(case))
    channels = inputs.read(whole(case.shape), shape)
    shares = resample(np.stack([labels == TUMOUR, labels == UNDECIDED]).astype(np.float32), shape)
    grid = np.where(shares[1] > 0.5, UNDECIDED, shares[0] > 0.5).astype(np.uint8)
    rng = np.random.default_rng(seed)
    body = channels[0] > np.quantile(channels[0], 0.5)
    bright = body & (grid != TUMOUR) & (channels[-1] > np.quantile(channels[-1][body], 0.97))
    centres = {name: _some(rng, mask) for name, mask in (("tumour", grid == TUMOUR), ("bright", bright), ("body", body))}
    return Volume(channels.astype(np.float16), grid, centres, inputs.clock)


def _some(rng: np.random.Generator, mask: npt.NDArray[np.bool_]) -> Points:
    found = np.argwhere(mask)
    return found if len(found) <= KEPT else found[rng.choice(len(found), KEPT, replace=False)]


def draw_centre(rng: np.random.Generator, volume: Volume, tumour: float) -> Points:
    """Draw a patch centre: tumour with probability `tumour`, else bright healthy tissue twice as often as any tissue."""
    kinds = ["tumour"] if rng.random() < tumour else []
    kinds += ["bright", "body"] if rng.random() < 2 / 3 else ["body", "bright"]
    for kind in [*kinds, "tumour"]:
        points = volume.centres[kind]
        if len(points):
            chosen: Points = points[rng.integers(len(points))]
            return chosen
    return np.array(volume.labels.shape) // 2


def cut(array: npt.NDArray[Any], centre: Points, size: npt.ArrayLike, fill: float) -> npt.NDArray[Any]:
    """Cut a box of `size` voxels (z, y, x; a number for a cube) around `centre` from (..., z, y, x); outside the volume it holds `fill`."""
    edges = np.broadcast_to(np.asarray(size), 3)
    out = np.full((*array.shape[:-3], *edges), fill, array.dtype)
    start = centre - edges // 2
    low, high = np.maximum(start, 0), np.minimum(start + edges, array.shape[-3:])
    if (low >= high).any():
        return out
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    (z, y, x), (zt, yt, xt) = source, target
    out[..., zt, yt, xt] = array[..., z, y, x]
    return out


def _some_phases(rng: np.random.Generator, clock: tuple[float, ...]) -> tuple[float, ...]:
    """Hide some of the phases after the first two now and then: other hospitals take fewer."""
    if len(clock) < 3 or rng.random() >= FEWER_PHASES:
        return clock
    hidden = rng.random(len(clock)) < rng.random()
    return tuple(MISSING if index > 1 and gone else minutes for index, (minutes, gone) in enumerate(zip(clock, hidden, strict=True)))


@cache
def _augmentation(patch: tuple[int, ...]) -> Any:
    """Transforms of volumes, or of images (y, x), which are not put upside down: what casts a shadow lies above it."""
    from monai import transforms as t

    keys = ["image", "label"]
    axes = len(patch)
    turns, shears, flips = (3, 6, range(3)) if axes == 3 else (1, 2, range(1, 2))
    geometric = [
        t.RandAffined(
            keys, prob=0.9, spatial_size=patch, rotate_range=(0.3,) * turns, scale_range=((-0.3, 0.4),) * axes, shear_range=(0.1,) * shears,
            mode=("bilinear", "nearest"), padding_mode="border",
        ),
        t.CenterSpatialCropd(keys, patch),
        *(t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in flips),
    ]  # fmt: skip
    intensity = [
        t.RandScaleIntensityd("image", factors=0.35, prob=0.8),
        t.RandShiftIntensityd("image", offsets=0.2, prob=0.5),
        t.RandGaussianSmoothd("image", (0.25, 0.8), (0.25, 0.8), (0.25, 0.8), prob=0.2),
        t.RandGaussianNoised("image", prob=0.3, std=0.2),
    ]
    return t.Compose([*geometric, *intensity])


def draw_patch(
    rng: np.random.Generator, volume: Volume, centre: Points, patch: int | tuple[int, int, int], nominal: bool = False
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Cut an augmented patch (MONAI: affine, flips, intensity, sharpness, noise) around a centre jittered by a quarter of its edge.

    Parameters
    ----------
    patch : int or tuple of int
        Edge of a cube, or edges (1, n, n) of a part of an image, which is then augmented within its plane.
    nominal : bool
        Whether there is no middle between two labels, as between two clusters: at half resolution one voxel then speaks for its neighbours.

    Returns
    -------
    image : ndarray, shape (channel, z, y, x), float32
    labels : ndarray, shape (z, y, x), uint8
    """
    edges = (patch,) * 3 if isinstance(patch, int) else patch
    spread = np.array([edge > 1 for edge in edges])  # the axes along which there is room to move
    jitter = rng.integers(-edges[-1] // 4, edges[-1] // 4 + 1, 3) * spread
    if edges[0] == 1 and (np.array(volume.labels.shape) <= edges).all():  # an image is seen as a whole, as it will be predicted
        centre, jitter = np.array(volume.labels.shape) // 2, jitter // 4
    outside = float(volume.channels[0].min())
    # The coarse pass of inference sees every case at half resolution: so must training.
    factor = 2 if rng.random() < HALF_RESOLUTION else 1
    step = np.where(spread, factor, 1)
    wide = np.array(edges) * 5 // 4 * step
    image = cut(volume.channels, centre + jitter, wide, outside).astype(np.float32)
    labels = cut(volume.labels, centre + jitter, wide, BACKGROUND)
    if factor == 2:
        image = block_reduce(image, (1, *step), np.mean)
        if nominal:
            labels = labels[tuple(slice(int(s) // 2, None, int(s)) for s in step)]
        else:
            labels = block_reduce(labels, tuple(step), np.median).astype(np.uint8)
    flat = edges[0] == 1
    augment = _augmentation(edges[1:] if flat else edges)
    augment.set_random_state(seed=int(rng.integers(2**31)))
    out = augment({"image": image[:, 0], "label": labels} if flat else {"image": image, "label": labels[None]})
    image = with_clock(np.asarray(out["image"], np.float32).reshape(-1, *edges), _some_phases(rng, volume.clock))
    return image, np.asarray(out["label"]).astype(np.uint8).reshape(edges)
