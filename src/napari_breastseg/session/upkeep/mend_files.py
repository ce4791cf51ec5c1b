"""What a damaged file was, if one bit of it was flipped: small files by trial, arrays by the CRC-32C behind each of their chunks.

The sha256 of the whole is the proof.
"""

from __future__ import annotations

import hashlib

import numpy as np

from napari_breastseg.session.upkeep.bits import CRC32C, flipped_bit, with_flipped

_SMALL = 4096
_MOST_CHUNKS = 4096
_CRC = 4


def mended_file(data: bytes, size: int, sha: str) -> bytes | None:
    """Return the bytes that have the sha256 `sha` and differ from `data` in one bit; None if that cannot be found."""
    if len(data) != size:
        return None
    candidates = [with_flipped(data, bit) for bit in range(8 * size)] if size <= _SMALL else _by_chunk_checksums(data)
    return next((one for one in candidates if hashlib.sha256(one).hexdigest() == sha), None)


def _by_chunk_checksums(data: bytes) -> list[bytes]:
    """Take `data` for a shard, whose index lies at its end; try every length that an index can have and still fit its checksum."""
    for chunks in range(1, min(len(data) // 16, _MOST_CHUNKS)):
        start = len(data) - _CRC - 16 * chunks
        index = np.frombuffer(data[start : start + 16 * chunks], "<u8").reshape(-1, 2)
        if index[0, 0] == 0 and int((index[:, 0] + index[:, 1]).max()) == start:
            return [_with_chunk_mended(data, int(offset), int(length)) for offset, length in index.tolist()]
    return []


def _with_chunk_mended(data: bytes, offset: int, length: int) -> bytes:
    kept = int.from_bytes(data[offset + length - _CRC : offset + length], "little")
    chunk = data[offset : offset + length - _CRC]
    bit = flipped_bit(chunk, kept, CRC32C)
    return data if bit is None else with_flipped(data, 8 * offset + bit)
