"""A round brush that paints one component of errors in one plane without leaving the true class, and how long that takes a person.

The time model is that of RootPainter's simulated annotator: a pointer sampled at 120 Hz that paints at no more than 400 pixels per second
and travels at 800 pixels per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Plane = npt.NDArray[np.bool_]
"""A mask of one plane, shape (rows, columns)."""
Pixel = tuple[int, int]

POINTER_HZ = 120.0
PAINTING, TRAVELLING = 400.0, 800.0
"""Pointer speeds in pixels per second."""
LARGEST_RADIUS = 15.0
"""Radius in mm of the largest brush."""


@dataclass(frozen=True)
class Disc:
    """One print of the brush: its centre and the pixels that it colours."""

    centre: Pixel
    pixels: Plane


@dataclass(frozen=True)
class Drag:
    """One movement with the brush held down: the pixels that it colours, where it starts and ends, and its length in pixels."""

    pixels: Plane
    start: Pixel
    end: Pixel
    length: float


def distance(true_class: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Distance in mm from each pixel or voxel of `true_class` to the nearest one outside it; infinite where there is none."""
    if true_class.all():
        return np.full(true_class.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(true_class, sampling=spacing), dtype=np.float64)


def cover(
    component: Plane,
    true_class: Plane,
    spacing: tuple[float, float],
    rng: np.random.Generator,
    largest: float = LARGEST_RADIUS,
) -> list[Disc]:
    """Cover `component` with the largest discs that stay inside `true_class`, the largest first.

    Each disc is centred on a pixel of the component that is still bare, where the distance to the other class is greatest; it is no larger
    than the component needs and than `largest` (mm). Ties are broken by `rng`.

    Parameters
    ----------
    component : ndarray of bool, shape (rows, columns)
        Pixels to correct; all of them inside `true_class`.
    true_class : ndarray of bool, shape (rows, columns)
        Where the brush may paint.
    spacing : tuple of float
        Pixel size in mm (row, column).
    """
    free = distance(true_class, spacing)
    members = np.argwhere(component)
    depth = np.minimum(free[component], largest) + rng.uniform(0, 1e-6, len(members))
    bare = np.ones(len(members), bool)
    discs: list[Disc] = []
    while bare.any():
        index = int(np.argmax(np.where(bare, depth, -np.inf)))
        centre = (int(members[index, 0]), int(members[index, 1]))
        reach = np.hypot(*((members - members[index]) * spacing).T).max() + min(spacing) / 2
        radius = min(float(free[centre]), largest, float(reach))
        pixels = _disc(component.shape, centre, radius, spacing) & true_class
        discs.append(Disc(centre, pixels))
        bare &= ~pixels[component]
    return discs


def drags(discs: list[Disc], true_class: Plane) -> list[Drag]:
    """Join `discs` into as few movements as a hand would: to the nearest disc each time, lifted where the way leaves `true_class`."""
    if not discs:
        return []
    waiting = list(discs[1:])
    last = discs[0]
    done: list[Drag] = []
    pixels, start, length = last.pixels.copy(), last.centre, 0.0
    while waiting:
        nearest = min(range(len(waiting)), key=lambda i: math.dist(waiting[i].centre, last.centre))
        following = waiting.pop(nearest)
        rows, columns = _line(last.centre, following.centre)
        if true_class[rows, columns].all():
            pixels[rows, columns] = True
            length += math.dist(last.centre, following.centre)
        else:
            done.append(Drag(pixels, start, last.centre, length))
            pixels, start, length = np.zeros_like(last.pixels), following.centre, 0.0
        pixels |= following.pixels
        last = following
    done.append(Drag(pixels, start, last.centre, length))
    return done


def painting_seconds(length: float) -> float:
    """Seconds of a drag of `length` pixels: whole pointer samples, at least one."""
    return max(1, math.ceil(length / PAINTING * POINTER_HZ)) / POINTER_HZ


def travel_seconds(origin: tuple[float, float], goal: tuple[float, float]) -> float:
    """Seconds to move the lifted pointer between two pixels, in whole pointer samples."""
    return math.ceil(math.dist(origin, goal) / TRAVELLING * POINTER_HZ) / POINTER_HZ


def _disc(shape: tuple[int, ...], centre: Pixel, radius: float, spacing: tuple[float, float]) -> Plane:
    """Pixels nearer to the centre than `radius` mm; always the centre itself."""
    disc = np.zeros(shape, bool)
    reach = [math.ceil(radius / s) for s in spacing]
    window = tuple(slice(max(0, c - r), min(n, c + r + 1)) for c, r, n in zip(centre, reach, shape, strict=True))
    rows, columns = np.ogrid[window]
    disc[window] = np.hypot((rows - centre[0]) * spacing[0], (columns - centre[1]) * spacing[1]) < radius - 1e-9
    disc[centre] = True
    return disc


def _line(a: Pixel, b: Pixel) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the pixels between two pixels, both included."""
    count = max(abs(a[0] - b[0]), abs(a[1] - b[1])) + 1
    rows, columns = (np.rint(np.linspace(p, q, count)).astype(np.intp) for p, q in zip(a, b, strict=True))
    return rows, columns
