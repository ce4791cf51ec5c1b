"""Masks and label values as short bytes, and the checksum of a row.

A packed array is one byte when all its values are equal and a zlib stream otherwise (never shorter than eight bytes). Unpacking is bounded
by the expected length, so a forged row cannot fill the memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import SessionError

Sql: TypeAlias = int | float | str | bytes | None
_LEVEL = 1


def pack(values: npt.NDArray[np.uint8]) -> bytes:
    """Pack a flat uint8 array."""
    if values.size and (values == values.flat[0]).all():
        return bytes([int(values.flat[0])])
    return zlib.compress(values.tobytes(), _LEVEL)


def unpack(packed: bytes, length: int) -> npt.NDArray[np.uint8]:
    """Return the `length` values of :func:`pack`.

    Raises
    ------
    SessionError
        If the bytes do not hold exactly that many values.
    """
    if len(packed) == 1:
        return np.full(length, packed[0], dtype=np.uint8)
    try:
        data = zlib.decompressobj().decompress(packed, length + 1)
    except zlib.error as error:
        raise SessionError("An edit of the journal is damaged. Run `napari-breastseg verify` on the session.") from error
    if len(data) != length:
        raise SessionError("An edit of the journal is damaged. Run `napari-breastseg verify` on the session.")
    return np.frombuffer(data, dtype=np.uint8)


def pack_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Pack a boolean array of any shape."""
    return pack(np.packbits(mask))


def unpack_mask(packed: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the mask of :func:`pack_mask`, given its shape."""
    count = int(np.prod(shape, dtype=np.int64))
    bits = np.unpackbits(unpack(packed, (count + 7) // 8), count=count)
    return bits.view(np.bool_).reshape(shape)


def encode(values: Iterable[Sql]) -> list[bytes]:
    """Return each value of a row as the bytes that its checksum is made of: a letter for its type, its length, and itself."""
    encoded = []
    for value in values:
        if value is None:
            tag, data = b"n", b""
        elif isinstance(value, bytes):
            tag, data = b"b", value
        elif isinstance(value, str):
            tag, data = b"s", value.encode("utf-8", "surrogateescape")
        else:
            tag, data = b"v", repr(value).encode()
        encoded.append(tag + struct.pack("<q", len(data)) + data)
    return encoded


ENCODED_HEAD = 9
"""Bytes before the value itself."""


def checksum(values: Iterable[Sql]) -> int:
    """Return the CRC-32 of the values of a row, in the order of the table's columns; types and lengths count too."""
    return zlib.crc32(b"".join(encode(values)))
