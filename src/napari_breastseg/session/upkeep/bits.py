"""Which single bit was flipped? What a CRC-32 can say beyond "something".

A CRC is linear: flipping a bit changes it by an amount that depends on the bit's distance from the end alone, and no two distances of any
data that we store share that amount. So the difference between the checksum kept and the checksum found names the bit.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import google_crc32c
import numpy as np
import numpy.typing as npt

CRC32, CRC32C = 0xEDB88320, 0x82F63B78
"""Reversed polynomials: of zlib, and of zarr's chunks."""


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, as zarr puts it behind a chunk."""
    return int(google_crc32c.value(data))


def flipped_bit(data: bytes, kept: int, polynomial: int) -> int | None:
    """Return the number of the one bit of `data` (0 is the lowest of the first byte) whose flip explains the checksum `kept`, else None."""
    found = zlib.crc32(data) if polynomial == CRC32 else crc32c(data)
    wanted = kept ^ found
    if wanted == 0:
        return None
    table = _table(polynomial)
    changes = table[1 << np.arange(8)]
    for byte in range(len(data) - 1, -1, -1):
        hits = np.flatnonzero(changes == wanted)
        if hits.size:
            return 8 * byte + int(hits[0])
        changes = (changes >> 8) ^ table[changes & 255]
    return None


def with_flipped(data: bytes, bit: int) -> bytes:
    """Return `data` with one bit flipped."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@lru_cache(maxsize=2)
def _table(polynomial: int) -> npt.NDArray[np.uint32]:
    """Return how each byte changes the CRC of what ends with it."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(polynomial), values >> 1)
    return values
