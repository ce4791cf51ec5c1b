"""Image files (PNG, JPEG, TIFF) to cases of one slice: ultrasound, mammograms.

Only the pixels are taken: text and EXIF in a file can name the patient and stay behind. What is written into the picture itself does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.nifti import check_voxels
from napari_breastseg.io.sidecars import kind_beside, scale_beside

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")
LARGEST = 2**26
"""Pixels of the largest image that is read, 8192 x 8192: a small file can unpack to any size."""
_DEEP = ("I", "F")
"""Beginnings of Pillow's names for pixels of more than 8 bits, whose one grey value is taken as it is."""
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError)
"""What Pillow raises for files that are cut short or not what their name says."""


def is_image(path: Path) -> bool:
    """Tell whether a file's name says PNG, JPEG or TIFF; hidden files do not count."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and not path.is_dir()


def read_image(path: Path, times: Sequence[float] | None = None) -> Case:
    """Read an image.

    Parameters
    ----------
    path : Path
        8 or 16 bits or real numbers. Colour is turned to grey by its luminance, transparency is left out.
    times : sequence of float, optional
        An image has none.

    Raises
    ------
    InputError
        If the file is damaged, of several pages, larger than `LARGEST`, empty, or holds pixels that are no number; or if times are given.
    """
    if times is not None:
        raise InputError(f"{path} is a single image. Leave the phase times out.")
    grey = read_grey(path).astype(np.float32)
    check_voxels(grey, str(path))
    kind, facts = kind_beside(path.parent, path.stem), MappingProxyType({"files": (path.name,)})
    return Case(path.stem, grey[None], _geometry(path, grey.shape), modality=kind, metadata=facts)


def image_geometry(path: Path, usual: Geometry | None = None) -> Geometry:
    """Return where the pixels of an image lie, without reading them.

    Image files say nothing that can be relied on of the scale (a resolution in dots per inch is that of a screen). A pixel is as large
    as a sidecar tells, see :func:`~napari_breastseg.io.sidecars.scale_beside`, else as one of `usual`, else it counts as 1.

    Raises
    ------
    InputError
        If the file or its sidecar cannot be read.
    """
    with _opened(path) as image:
        return _geometry(path, (1, image.height, image.width), usual)


def read_grey(path: Path) -> npt.NDArray[np.number]:
    """Return the grey values of an image, shape (1, y, x)."""
    with _opened(path) as image:
        try:
            return np.asarray(image if image.mode.startswith(_DEEP) else image.convert("L"))[None]
        except _DAMAGED as error:
            raise InputError(f"{path} is cut short or damaged. Copy or export the file again.") from error


def write_grey(values: npt.NDArray[np.number], path: Path) -> None:
    """Write grey values (y, x), rounded to integers from 0 to 65535, as a PNG file, of 8 bits where that suffices; atomically.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    whole = np.clip(np.rint(values), 0, 2**16 - 1)
    content = BytesIO()
    Image.fromarray(whole.astype(np.uint8 if whole.max(initial=0) < 2**8 else np.uint16)).save(content, "PNG")
    write_atomically(path, content.getvalue())


def _opened(path: Path) -> Image.Image:
    if not path.exists():
        raise InputError(f"There is no file {path}. Check the name.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read as PNG, JPEG or TIFF. Export it as a PNG file of 8 or 16 bits.") from error
    if image.width * image.height > LARGEST:
        image.close()
        raise InputError(_too_large(path))
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        image.close()
        raise InputError(f"{path} holds {pages} pages. Save the one to segment as a file of its own.")
    return image


def _too_large(path: Path) -> str:
    return f"{path} has more than {LARGEST // 10**6} million pixels. Crop or shrink it."


def _geometry(path: Path, shape: Sequence[int], usual: Geometry | None = None) -> Geometry:
    z, y, x = shape
    known = scale_beside(path.parent, path.stem)
    if known is None and usual is not None and usual.unit == "mm":
        known = usual.spacing[1], usual.spacing[2]
    height, width = known or (1.0, 1.0)
    return Geometry((1.0, height, width), np.diag([-width, -height, 1.0, 1.0]), (x, y, z), "pixel" if known is None else "mm")
