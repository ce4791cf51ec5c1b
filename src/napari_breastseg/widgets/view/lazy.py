"""Images that are read as they are shown, a slab at a time, so that a case of any size opens at once."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
import numpy.typing as npt
from psutil import virtual_memory

from napari_breastseg.errors import SessionError
from napari_breastseg.widgets.desk.messages import tell

LIMIT = max(2**29, virtual_memory().total // 4)
"""Bytes of slabs that are kept: a quarter of the computer's memory as in napari, at least seven slabs of 64 x 512 x 512 float32."""
SLAB = 64
"""Slices of a slab, the depth of a session's chunks."""
DEPTH = 8
"""Slices that Dask computes together: few, so that scrolling through a difference costs little, and a divisor of a chunk's depth."""
Key: TypeAlias = tuple[int, ...]


class Slabs:
    """The slabs that were read last; whoever asks for one that is being read waits for it instead of reading it again.

    Parameters
    ----------
    limit : int
        Bytes that are kept.
    damaged : callable
        Called, on any thread, with the error of each slab that cannot be read.
    """

    def __init__(self, limit: int = LIMIT, damaged: Callable[[SessionError], None] = tell) -> None:
        self.damaged = damaged
        self._limit = limit
        self._kept: OrderedDict[Key, Future[npt.NDArray[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, read: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the slab of that key, read now unless it is kept."""
        with self._lock:
            known = self._kept.pop(key, None)
            slab = self._kept[key] = Future() if known is None else known
        if known is None:
            try:
                slab.set_result(read())
            except BaseException as error:
                with self._lock:
                    del self._kept[key]
                slab.set_exception(error)
                raise
            self._forget_oldest()
        return slab.result()

    def _forget_oldest(self) -> None:
        with self._lock:
            read = {key: slab.result().nbytes for key, slab in self._kept.items() if slab.done()}
            for key in list(read)[:-1]:
                if sum(read.values()) <= self._limit:
                    return
                del self._kept[key], read[key]


class _Source:
    """What Dask reads a stored image through: whole slabs of a chunk's depth, each of which is one call to Zarr."""

    _tokens = itertools.count()

    def __init__(self, stored: Any, slabs: Slabs) -> None:
        self.shape, self.dtype, self.ndim = stored.shape, stored.dtype, len(stored.shape)
        self._stored = stored
        self._slabs = slabs
        self._token = next(self._tokens)
        self.depth = int(stored.chunks[-3])

    def __getitem__(self, index: tuple[slice, ...]) -> npt.NDArray[Any]:
        *lead, rows = index[:-2]
        number = rows.start // self.depth
        first = number * self.depth
        place = (*lead, slice(first, min(first + self.depth, self.shape[-3])))
        key = (self._token, *(part.start for part in lead), number)
        slab = self._slabs.get(key, lambda: self._read(place))
        return slab[(..., slice(rows.start - first, rows.stop - first), slice(None), slice(None))]

    def _read(self, place: tuple[slice, ...]) -> npt.NDArray[Any]:
        try:
            slab = self._stored[place]
        except SessionError as error:
            self._slabs.damaged(error)
            slab = self._what_is_whole(place)
        slab.flags.writeable = False
        return slab

    def _what_is_whole(self, place: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read chunk by chunk; what is damaged stays without a value, where labels have none without a label."""
        *_, height, width = self._stored.chunks
        shape = [part.stop - part.start for part in place] + list(self.shape[-2:])
        slab = np.full(shape, np.nan if self.dtype.kind == "f" else 0, self.dtype)
        for y, x in itertools.product(range(0, self.shape[-2], height), range(0, self.shape[-1], width)):
            rows, columns = slice(y, y + height), slice(x, x + width)
            try:
                slab[..., rows, columns] = self._stored[(*place, rows, columns)]
            except SessionError:
                continue
        return slab


class _Whole:
    """What Dask reads an image in memory through: from an array itself it would make a copy."""

    def __init__(self, images: Any) -> None:
        self.shape, self.dtype, self.ndim = images.shape, images.dtype, len(images.shape)
        self._images = images
        self.depth = int(self.shape[-3])

    def __getitem__(self, index: tuple[slice, ...]) -> npt.NDArray[Any]:
        return np.asarray(self._images[index])


def lazy(images: Any, slabs: Slabs) -> da.Array:
    """Return images of shape ``([phase,] z, y, x)`` as a Dask array that is read as it is sliced.

    Images that are stored in chunks are read slab by slab through `slabs`; all others are sliced as they are.
    """
    if isinstance(images, da.Array):
        return images
    source = _Whole(images) if getattr(images, "chunks", None) is None else _Source(images, slabs)
    borders = sorted({*range(0, source.shape[-3], DEPTH), *range(0, source.shape[-3], source.depth), source.shape[-3]})
    depths = tuple(stop - start for start, stop in itertools.pairwise(borders))
    chunks = (*((1,) * n for n in source.shape[:-3]), depths, *((n,) for n in source.shape[-2:]))
    return da.from_array(source, chunks=chunks, name=False, getitem=_part, inline_array=True, meta=np.empty(0, source.dtype))


def _part(source: _Source | _Whole, index: tuple[slice, ...], **_: object) -> npt.NDArray[Any]:
    """Read a block as a whole: a function of ours, since Dask would let its own read single slices, each of which decodes a slab."""
    return source[index]
