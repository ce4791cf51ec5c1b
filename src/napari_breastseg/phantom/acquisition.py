"""What the scanner does to the tissue: protocol, coil shading, motion between phases, blur and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import grid_sample

from napari_breastseg.phantom.anatomy import Anatomy
from napari_breastseg.phantom.contrast import Kinetics
from napari_breastseg.phantom.fields import Field, Shape, Spacing, smooth_noise


@dataclass(frozen=True)
class Protocol:
    """How a phantom is scanned.

    Attributes
    ----------
    spacing : tuple of float
        mm (z, y, x).
    times : tuple of float
        Seconds after the injection of each phase; the first is before it.
    bilateral, fat_suppressed : bool
    noise, shading, enhancement : float
        As in :class:`Scanner`.
    """

    spacing: Spacing
    times: tuple[float, ...]
    bilateral: bool
    fat_suppressed: bool
    noise: float = 1.0
    shading: float = 1.0
    enhancement: float = 1.0


@dataclass(frozen=True)
class Scanner:
    """One scanner whose images differ from those of the drawn protocols.

    Parameters
    ----------
    spacing : tuple of float
        mm (z, y, x).
    bilateral : bool
        Both breasts or one.
    fat_suppressed : bool
    noise : float
        Noise relative to that of the drawn protocols.
    shading : float
        The coil's sensitivity, relative to its median in the body, is raised to this power.
    enhancement : float
        Relative enhancement of all tissues, relative to that of the drawn protocols.
    """

    spacing: Spacing
    bilateral: bool
    fat_suppressed: bool
    noise: float
    shading: float
    enhancement: float

    def scans(self, protocol: Protocol) -> Protocol:
        """Return the protocol as this scanner runs it; only the times stay."""
        return replace(
            protocol, spacing=self.spacing, bilateral=self.bilateral, fat_suppressed=self.fat_suppressed,
            noise=self.noise, shading=self.shading, enhancement=self.enhancement,
        )  # fmt: skip


OTHER_SCANNER = Scanner(
    spacing=(3.0, 1.8, 1.8), bilateral=False, fat_suppressed=False, noise=2.0, shading=1.7, enhancement=0.75,
)  # fmt: skip
"""Another hospital's scanner, fixed from what scanners do and never tuned to what is learned on its images.

It stands for an older 1.5 T system with a surface coil on one breast and no fat suppression: slices of 3 mm, threefold acceleration (the
square root of 3 times a g-factor of about 1.15 gives twice the noise), a coil that falls off faster, and a smaller flip angle, so that
the same contrast agent brightens tissue by a quarter less.
"""


def draw_protocol(rng: np.random.Generator, shape: Shape, phases: int) -> Protocol:
    """Draw a protocol as found in practice: both breasts in 300 to 360 mm or one in 150 to 200 mm, 60 to 130 s a phase."""
    bilateral = bool(rng.random() < 0.5)
    field_of_view = rng.uniform(300, 360) if bilateral else rng.uniform(150, 200)
    in_plane = field_of_view / max(shape[1:])
    depth = rng.uniform(130, 190) if bilateral else rng.uniform(95, 160)
    spacing = (float(np.clip(depth / shape[0], 0.8, 3.0)), in_plane, in_plane)
    first, step = rng.uniform(60, 140), rng.uniform(60, 130)
    before = -float(rng.choice([rng.uniform(20, 90), rng.uniform(300, 1400)], p=[0.8, 0.2]))
    times = (before, *(float(first + step * i) for i in range(phases - 1)))
    return Protocol(spacing, tuple(round(t, 1) for t in times), bilateral, bool(rng.random() < 0.85))


def acquire(rng: np.random.Generator, kinetics: Kinetics, anatomy: Anatomy, protocol: Protocol) -> Field:
    """Scan every phase, shape (phase, z, y, x), float32. The first phase after the injection does not move: it is the reference."""
    shape = anatomy.tissue.shape
    assert len(shape) == 3
    shading = _coil(rng, anatomy, shape, protocol.spacing)
    if protocol.shading != 1:
        middle = np.median(shading[anatomy.depth > 0])
        shading = middle * (shading / middle) ** np.float32(protocol.shading)
    sigma = rng.uniform(2.5, 9.0) * protocol.noise
    blur = rng.uniform(0.35, 0.7)
    images = np.empty((len(protocol.times), *shape), np.float32)
    for index, seconds in enumerate(protocol.times):
        clean = kinetics.signal(seconds) * shading
        if index != 1:
            clean = _move(rng, clean, protocol.spacing, rng.uniform(0, 2.5) if index == 0 else rng.uniform(0, 0.4))
        clean = ndimage.gaussian_filter(clean, blur)
        noise = np.float32(sigma * rng.uniform(0.85, 1.15)) * rng.standard_normal((2, *shape), dtype=np.float32)
        images[index] = np.hypot(clean + noise[0], noise[1])
    return images


def _coil(rng: np.random.Generator, anatomy: Anatomy, shape: Shape, spacing: Spacing) -> Field:
    """Sensitivity that falls off from the surface, brighter near single elements, times a low-frequency field."""
    fall = np.exp(-anatomy.depth / np.float32(rng.uniform(25, 120)))
    hot = np.clip(smooth_noise(rng, shape, spacing, 60.0), 0, None) * np.exp(-anatomy.depth / np.float32(rng.uniform(6, 15)))
    broad = np.exp(rng.uniform(0.05, 0.25) * smooth_noise(rng, shape, spacing, 120.0))
    shading: Field = (rng.uniform(0.3, 0.8) + fall * rng.uniform(0.3, 0.9) + rng.uniform(0, 0.5) * hot) * broad
    return shading.astype(np.float32)


def _move(rng: np.random.Generator, image: Field, spacing: Spacing, millimetres: float) -> Field:
    """Shift and bend the image smoothly by about `millimetres`."""
    shape = image.shape
    assert len(shape) == 3
    shift = rng.normal(size=3)
    shift *= millimetres / np.linalg.norm(shift)
    axes = [torch.linspace(-1, 1, n) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    for column, axis in enumerate((2, 1, 0)):
        bend = 0.3 * millimetres * smooth_noise(rng, shape, spacing, 50.0) + np.float32(shift[axis])
        grid[..., column] += torch.from_numpy(np.asarray(bend, np.float32)) * (2 / (spacing[axis] * max(shape[axis] - 1, 1)))
    moved = grid_sample(torch.from_numpy(image)[None, None], grid[None], padding_mode="border", align_corners=True)
    result: Field = moved[0, 0].numpy()
    return result
