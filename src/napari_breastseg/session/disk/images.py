"""Immutable OME-Zarr 0.5 on disk: examinations, predictions and label snapshots.

zarr v3, sharded, zstd with a CRC-32C behind every chunk, so that a flipped bit is found when the chunk is read. Other readers open them as
plain OME-Zarr. Nothing is ever changed in place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.chunks import check_array, check_shape
from napari_breastseg.session.disk.manifests import Manifest, check_quickly

_SHARD_BYTES = 128 * 2**20
_KEY = "napari-breastseg"


def create_image(
    folder: Path,
    name: str,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    spacing: tuple[float, float, float],
    *,
    leading: str = "",
    times: Sequence[float] = (),
    own: Mapping[str, Any] | None = None,
    label: bool = False,
) -> zarr.Array[Any]:
    """Create an empty OME-Zarr image in `folder` and return its array of full resolution, to be filled with :func:`fill`.

    Parameters
    ----------
    name : str
        The image's name in its metadata.
    shape : sequence of int
        ``(z, y, x)``, or with a first axis ``(t, z, y, x)`` or ``(c, z, y, x)``.
    spacing : tuple of float
        Voxel size in mm (z, y, x).
    leading : str
        What the first axis is if there are four: ``"t"`` or ``"c"``.
    times : sequence of float
        Seconds of each phase; equal steps go into the scale of the t axis, unequal ones cannot be said there.
    own : mapping, optional
        What we know besides, under a key of our own.
    label : bool
        Whether the values are labels.
    """
    group = zarr.create_group(store=str(folder), zarr_format=3, attributes=_attributes(name, spacing, leading, times, own, label))
    itemsize = np.dtype(dtype).itemsize
    chunks, shards = _layout(tuple(int(n) for n in shape), itemsize)
    return group.create_array(
        "0",
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=[ZstdCodec(level=3), Crc32cCodec()],
        fill_value=0,
        dimension_names=[*leading, "z", "y", "x"],
        config={"write_empty_chunks": True},
    )


def fill(array: zarr.Array[Any], values: Any, first: int | None = None) -> None:
    """Write `values` into `array` (or into its part `first` along the first axis), a row of shards at a time."""
    target_shape = array.shape if first is None else array.shape[1:]
    shards = array.shards or array.chunks
    step = shards[0] if first is None else shards[1]
    for start in range(0, target_shape[0], step):
        rows = slice(start, min(start + step, target_shape[0]))
        array[rows if first is None else (first, rows)] = np.asarray(values[rows], dtype=array.dtype)


def _attributes(
    name: str,
    spacing: tuple[float, float, float],
    leading: str,
    times: Sequence[float],
    own: Mapping[str, Any] | None,
    label: bool,
) -> dict[str, Any]:
    axes: list[dict[str, str]] = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
    scale = [float(s) for s in spacing]
    if leading == "c":
        axes.insert(0, {"name": "c", "type": "channel"})
        scale.insert(0, 1.0)
    elif leading == "t":
        step = _even_step(times)
        axes.insert(0, {"name": "t", "type": "time", **({"unit": "second"} if step else {})})
        scale.insert(0, step or 1.0)
    transform = [{"type": "scale", "scale": scale}]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transform}]}],
    }
    if label:
        ome["image-label"] = {"colors": [{"label-value": 1, "rgba": [230, 60, 60, 255]}, {"label-value": 255, "rgba": [0, 0, 0, 0]}]}
    return {"ome": ome, **({_KEY: dict(own)} if own else {})}


def _even_step(times: Sequence[float]) -> float | None:
    steps = np.diff(np.asarray(times, dtype=float))
    return float(steps.mean()) if steps.size and np.allclose(steps, steps.mean(), rtol=0.01) else None


def _layout(shape: tuple[int, ...], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    z, y, x = shape[-3:]
    edge = 64 if z > 8 else 256
    chunk = (min(z, edge), min(y, edge), min(x, edge))
    padded = [math.ceil(n / c) * c for n, c in zip((z, y, x), chunk, strict=True)]
    slab = chunk[0] * padded[1] * padded[2] * itemsize
    depth = chunk[0] * max(1, min(padded[0] // chunk[0], _SHARD_BYTES // max(slab, 1)))
    leading = (1,) * (len(shape) - 3)
    return leading + chunk, (*leading, depth, padded[1], padded[2])


class StoredImage:
    """An array of the session that is read when it is sliced, numpy-style; damage is told in words, never returned as voxels.

    Parameters
    ----------
    root, folder : Path
        The session, and the Zarr group in it.
    path : str
        The array within the group.
    manifest : mapping
        What the journal says is in the folder.
    shape, dtype
        What the journal says the array is.

    Raises
    ------
    SessionError
        If files are missing, changed or lead elsewhere, or the array is another one.
    """

    def __init__(self, root: Path, folder: Path, path: str, manifest: Manifest, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self._shown = folder.relative_to(root).as_posix()
        self.shape = check_shape(shape, self._shown)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        check_quickly(root, folder, {name: entry for name, entry in manifest.items() if name.startswith((f"{path}/", "zarr.json"))})
        prefix = f"{path}/"
        files = [name.removeprefix(prefix) for name in manifest if name.startswith(prefix)]
        self._files = [folder / path / name for name in files]
        check_array(folder / path, self._shown, self.shape, self.dtype, files)
        self._as_checked = self._state()
        self._array = zarr.open_array(store=str(folder), path=path, mode="r", zarr_format=3)

    def _state(self) -> list[tuple[int, int, int]]:
        """Return what tells a file from another one of the same name."""
        found = map(os.stat, self._files)
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the pieces that are read at once (Dask takes it as its own)."""
        return self._array.chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        try:
            values = np.asarray(self._array[index])
            if self._state() != self._as_checked:  # Zarr takes a chunk whose file has vanished for zeros
                raise FileNotFoundError("its files were removed or replaced")
            return values
        except IndexError:
            raise
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise SessionError(
                f"A part of {self._shown} cannot be read ({error}). Restore it from a backup; `napari-breastseg verify` lists all damage."
            ) from error

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)
