"""Is a stored array the plain, bounded one that its metadata claims, before any of it is decoded?

zarr decodes what it finds: codecs by name, and as many bytes as a compressed chunk says. In a session from a stranger either may be forged,
so the metadata must be of the one kind that we write, and every chunk a single zstd frame of exactly a chunk's size. Formats:
https://zarr-specs.readthedocs.io (v3, sharding codec) and RFC 8878 (zstd).
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import mmap
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import SessionError
from napari_breastseg.session.disk.text import understood

LARGEST_VOLUME = 2**31
"""Voxels of one phase: 2 GiB of labels, eight times a volume of 512 x 512 x 1024."""
_LARGEST_CHUNK = 2**28
_MOST_PHASES = 4096

_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
_ZSTD = 0xFD2FB528
_CRC = 4
_EMPTY = 2**64 - 1
"""Offset and length of a chunk that was not written."""


def check_shape(shape: Sequence[int], what: str) -> tuple[int, ...]:
    """Return a shape (z, y, x) or (n, z, y, x) that was read from a session.

    Raises
    ------
    SessionError
        If it is none, or larger than any examination.
    """
    with understood(f"The shape of {what}"):
        sizes = tuple(int(n) for n in shape)
        fits = len(sizes) in (3, 4) and min(sizes) > 0 and math.prod(sizes[-3:]) <= LARGEST_VOLUME
        if not fits or (len(sizes) == 4 and sizes[0] > _MOST_PHASES):
            raise SessionError(
                f"{what} claims the shape {sizes}, which no examination has. Restore the session from a backup, or do not use it."
            )
    return sizes


def check_array(folder: Path, shown: str, shape: tuple[int, ...], dtype: np.dtype[Any], files: Iterable[str]) -> None:
    """Check the metadata and the frames of the array in `folder`.

    Parameters
    ----------
    folder : Path
        The array's own folder, with ``zarr.json`` and ``c/...`` in it; all are plain files.
    shown : str
        How to call it.
    shape, dtype
        What the journal says it is.
    files : iterable of str
        The relative paths that the journal says are in the folder.

    Raises
    ------
    SessionError
        If it is another array, has other codecs, lacks chunks, or decodes to more than it should.
    """
    try:
        _check(folder, shape, dtype, set(files))
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise SessionError(
            f"A part of {shown} cannot be read ({error}). Restore it from a backup; `napari-breastseg verify` lists all damage."
        ) from error


def _check(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], files: set[str]) -> None:
    metadata = json.loads((folder / "zarr.json").read_bytes())
    shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    (codec,) = metadata["codecs"]
    inner = codec["configuration"]
    chunk = inner["chunk_shape"]
    nbytes = math.prod(chunk) * dtype.itemsize
    plain = (
        metadata["node_type"] == "array"
        and metadata["zarr_format"] == 3
        and tuple(metadata["shape"]) == shape
        and np.dtype(metadata["data_type"]) == dtype
        and metadata["chunk_grid"]["name"] == "regular"
        and metadata["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        and not metadata.get("storage_transformers")
        and codec["name"] == "sharding_indexed"
        and inner["index_codecs"] == _INDEX_CODECS
        and inner["index_location"] == "end"
        and [one["name"] for one in inner["codecs"]] == ["bytes", "zstd", "crc32c"]
        and len(chunk) == len(shard) == len(shape)
        and all(0 < c and s % c == 0 for c, s in zip(chunk, shard, strict=True))
        and 0 < nbytes <= _LARGEST_CHUNK
    )
    if not plain:
        raise ValueError("not an array of ours")
    grid = [range(math.ceil(n / s)) for n, s in zip(shape, shard, strict=True)]
    if math.prod(map(len, grid)) > len(files):
        raise ValueError("shards are missing")
    for place in itertools.product(*grid):
        name = "/".join(["c", *map(str, place)])
        if name not in files:
            raise ValueError(f"{name} is missing")
        _check_shard(folder / name, _within(place, shape, shard, chunk), nbytes)


def _within(place: Sequence[int], shape: Sequence[int], shard: Sequence[int], chunk: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Tell of each chunk of a shard whether it holds a part of the array; those wholly beyond its end are never written."""
    axes = [p * s + np.arange(0, s, c) < n for p, n, s, c in zip(place, shape, shard, chunk, strict=True)]
    found: npt.NDArray[np.bool_] = functools.reduce(np.multiply.outer, axes).ravel()
    return found


def _check_shard(path: Path, within: npt.NDArray[np.bool_], nbytes: int) -> None:
    chunks = len(within)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = len(data) - 16 * chunks - _CRC
        if start < 0:
            raise ValueError("the index does not fit")
        index: npt.NDArray[np.uint64] = np.frombuffer(data[start : start + 16 * chunks], "<u8").reshape(chunks, 2)
        if (index[~within] != _EMPTY).any():
            raise ValueError("there is something beyond the end")
        index = index[within]
        if int(index[:, 1].astype(object).sum()) > start:
            raise ValueError("chunks lie over each other")
        for offset, length in index.tolist():
            if offset + length > start or length <= _CRC:
                raise ValueError("a chunk lies outside its shard")
            if _frame(data, offset) != (length - _CRC, nbytes):
                raise ValueError("a chunk is not one frame of its size")


def _frame(data: mmap.mmap, start: int) -> tuple[int, int]:
    """Return the length of the zstd frame at `start` and the size that it says its content has; -1 if it says none."""
    magic, descriptor = struct.unpack_from("<IB", data, start)
    if magic != _ZSTD:
        raise ValueError("no zstd frame")
    single = descriptor >> 5 & 1
    flag = descriptor >> 6
    at = start + 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[flag]
    size = int.from_bytes(data[at : at + width], "little") + (256 if flag == 1 else 0) if width else -1
    at += width
    last = 0
    while not last:
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, length = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else length)
        if at > len(data):
            raise ValueError("a frame runs out of its file")
    return at + (4 if descriptor >> 2 & 1 else 0) - start, size
