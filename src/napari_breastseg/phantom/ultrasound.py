"""Synthetic breast ultrasound with exact truth: layers, masses, speckle of scatterers, attenuation and what it casts behind a mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError

Plane = npt.NDArray[np.float32]
LAYERS = ("skin", "fat", "gland", "fat behind the gland", "muscle")
ECHO = (4.0, 0.35, 1.6, 0.4, 0.7)
"""Echogenicity of the layers, as mean power."""
ATTENUATION = (0.05, 0.02, 0.05, 0.02, 0.06)
"""Nepers lost on the way there and back per 1 % of the depth, beyond what the scanner's gain makes up for."""
KINDS = ("cyst", "benign", "malignant")
LEAST = 64
"""Smallest image."""


@dataclass(frozen=True)
class UltrasoundPhantom:
    """A synthetic image and its truth.

    Attributes
    ----------
    case : Case
    mask : ndarray, shape (1, y, x), uint8
        1 in a mass.
    kinds : tuple of str
        Of the masses: "cyst", "benign" or "malignant".
    """

    case: Case
    mask: npt.NDArray[np.uint8]
    kinds: tuple[str, ...]


def make_ultrasound(seed: int, shape: tuple[int, int] = (384, 512), masses: int | None = None) -> UltrasoundPhantom:
    """Make one image, y to the depth; the same seed and options give the same pixels.

    Scatterers are complex Gaussian numbers with the echogenicity of their tissue as their mean power. They are blurred by a point spread
    that widens with the depth, so that in even tissue the amplitude follows Rayleigh's distribution, as it does in real speckle. Three to
    eight such looks are compounded, attenuated along each line, and compressed to the 8 bits of a screen.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Pixels (y, x).
    masses : int, optional
        Drawn (0 to 2, mostly 1) if not given.

    Raises
    ------
    InputError
        If the image is smaller than 64 pixels along an axis.
    """
    if min(shape) < LEAST:
        raise InputError(f"An ultrasound phantom needs at least {LEAST} pixels along each axis. Ask for more.")
    rng = np.random.default_rng(seed)
    layer = _layers(rng, shape)
    power, loss = np.array(ECHO, np.float32)[layer], np.array(ATTENUATION, np.float32)[layer]
    fibres = np.maximum(_texture(rng, shape, shape[0] / 24, 10), 0) ** 2
    power = power * np.exp(0.6 * _texture(rng, shape, shape[0] / 16) + rng.uniform(0.2, 0.8) * fibres)
    mask = np.zeros(shape, np.uint8)
    kinds = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.15, 0.75, 0.1])) if masses is None else masses):
        kind = str(rng.choice(KINDS, p=[0.2, 0.4, 0.4]))
        inside = _mass(rng, shape, kind)
        power, loss = _filled(rng, power, loss, inside, kind)
        mask |= inside.astype(np.uint8)
        kinds.append(kind)
    # The scanner makes up for what is lost on the way through even tissue, more or less.
    made_up = np.linspace(0, np.cumsum(loss, 0)[-1].mean() - rng.uniform(0.0, 2.0) * shape[0] / 100, shape[0])[:, None]
    lost = np.exp((made_up - np.cumsum(loss, 0)) * 100 / shape[0])
    looks = [_speckle(rng, power, shape) ** 2 for _ in range(int(rng.integers(3, 9)))]
    image = _on_screen(rng, np.sqrt(np.mean(looks, 0)) * lost)
    case = Case(
        name=f"ultrasound-phantom-{seed:04d}",
        images=image[None, None],
        geometry=Geometry((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0, 1.0]), (shape[1], shape[0], 1), "pixel"),
        modality="ultrasound",
        metadata={"phantom_seed": seed, "masses": tuple(kinds)},
    )
    return UltrasoundPhantom(case, mask[None], tuple(kinds))


def _layers(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.intp]:
    """Number of the layer of each pixel; the borders between layers wave."""
    h, w = shape
    depths = np.cumsum([rng.uniform(0.02, 0.05), rng.uniform(0.08, 0.25), rng.uniform(0.3, 0.5), rng.uniform(0.05, 0.15)])
    y = np.arange(h)[:, None] / h
    layer = np.zeros(shape, np.intp)
    for number, depth in enumerate(depths):
        wave = ndimage.gaussian_filter1d(rng.normal(size=w), w / 8, mode="nearest")
        wave *= rng.uniform(0.005, 0.05) * (number > 0) / max(float(np.abs(wave).max()), 1e-6)
        layer += y > depth + wave
    return layer


def _texture(rng: np.random.Generator, shape: tuple[int, int], length: float, stretch: float = 2.0) -> Plane:
    """Smooth noise of unit variance, `stretch` times longer across than along the beam."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (length / stretch, length), mode="reflect")
    standard: Plane = (noise / max(float(noise.std()), 1e-6)).astype(np.float32)
    return standard


def _mass(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> npt.NDArray[np.bool_]:
    """Outline of a mass: an ellipse, wider than tall and smooth unless it is malignant."""
    h, w = shape
    radius = h * np.exp(rng.uniform(np.log(0.05), np.log(0.22)))
    tall = rng.uniform(0.7, 1.4) if kind == "malignant" else rng.uniform(0.45, 0.8)
    rough = rng.uniform(0.1, 0.3) if kind == "malignant" else rng.uniform(0.0, 0.07)
    wide, high = radius / np.sqrt(tall), radius * np.sqrt(tall)
    y0 = rng.uniform(0.12 * h + high, max(0.75 * h - high, 0.12 * h + high + 1))
    x0 = rng.uniform(wide, w - wide)
    y, x = np.mgrid[:h, :w]
    turn = rng.uniform(-0.4, 0.4)
    dy, dx = (y - y0) * np.cos(turn) - (x - x0) * np.sin(turn), (y - y0) * np.sin(turn) + (x - x0) * np.cos(turn)
    around = np.arctan2(dy / high, dx / wide)
    waves = range(2, 12 if kind == "malignant" else 5)
    edge = 1 + sum(rough / k * np.cos(k * around + rng.uniform(0, 2 * np.pi)) * rng.uniform(0.3, 1) for k in waves)
    found: npt.NDArray[np.bool_] = np.hypot(dy / high, dx / wide) < edge
    return found


def _filled(rng: np.random.Generator, power: Plane, loss: Plane, inside: npt.NDArray[np.bool_], kind: str) -> tuple[Plane, Plane]:
    """Give a mass its echoes, and its attenuation: cysts let more through, malignant masses cast a shadow."""
    echo = {"cyst": 0.004, "benign": rng.uniform(0.08, 0.25), "malignant": rng.uniform(0.04, 0.2)}[kind]
    through = {"cyst": 0.0, "benign": rng.uniform(0.01, 0.03), "malignant": rng.uniform(0.06, 0.12)}[kind]
    within = echo * np.exp(0.4 * _texture(rng, inside.shape, inside.shape[0] / 40))
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 2.5 if kind == "malignant" else 0.8)
    rim = ndimage.binary_dilation(inside, iterations=3) & ~inside
    around = np.where(rim, 2.0 * power, power) if kind != "malignant" else power
    return (soft * within + (1 - soft) * around).astype(np.float32), np.where(inside, through, loss).astype(np.float32)


def _speckle(rng: np.random.Generator, power: Plane, shape: tuple[int, int]) -> Plane:
    """Amplitude of the echoes of scatterers, of mean square `power` in even tissue."""
    scale = shape[0] / 384
    depth = np.linspace(0, 1, shape[0])[:, None]
    echo = np.zeros(shape, np.complex128)
    for share, width in ((1 - depth, 1.2), (depth, 3.0)):  # the beam widens
        scatterers = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * np.sqrt(power / 2)
        echo += np.sqrt(share) * _blurred(scatterers, 0.9 * scale, width * scale)
    amplitude: Plane = np.abs(echo).astype(np.float32)
    return amplitude


def _blurred(scatterers: npt.NDArray[np.complex128], axial: float, lateral: float) -> npt.NDArray[np.complex128]:
    """Blur by the point spread, with the mean power kept."""
    blurred = ndimage.gaussian_filter(scatterers, (axial, lateral), mode="reflect")
    energy = 1.0
    for sigma in (axial, lateral):
        steps = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        kernel = np.exp(-0.5 * (steps / sigma) ** 2)
        energy *= float(((kernel / kernel.sum()) ** 2).sum())
    found: npt.NDArray[np.complex128] = blurred / np.sqrt(energy)
    return found


def _on_screen(rng: np.random.Generator, amplitude: Plane) -> Plane:
    """Compress the amplitude by its logarithm to whole numbers from 0 to 255."""
    span, middle = rng.uniform(35, 55), rng.uniform(0.25, 0.5)
    decibels = 20 * np.log10(np.maximum(amplitude, 1e-6) / np.median(amplitude))
    shown: Plane = np.round(np.clip(middle + decibels / span, 0, 1) * 255).astype(np.float32)
    return shown
