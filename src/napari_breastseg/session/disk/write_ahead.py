"""Is the write-ahead log that a crash left behind whole?

SQLite reads such a log up to the first frame whose checksum is wrong and silently drops the rest: right for a commit that a kill cut short,
wrong for a flipped bit in the middle, behind which acknowledged edits lie. This module tells the two apart before SQLite opens the file.
The format is https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import logging
import shutil
import struct
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_breastseg.session.disk.durable import aside, publish, settle
from napari_breastseg.session.disk.places import DAMAGED, DATABASE

_log = logging.getLogger(__name__)
_MAGIC = 0x377F0682
_HEADER, _FRAME = 32, 24


def is_damaged(log: Path) -> bool:
    """Tell whether a commit lies behind a damaged place of the log, so that SQLite would drop it."""
    data = log.read_bytes() if log.is_file() else b""
    if len(data) <= _HEADER + _FRAME:
        return False
    magic, _, page, _ = struct.unpack(">4I", data[:16])
    order: npt.DTypeLike = ">u4" if magic & 1 else "<u4"
    state = _sum((0, 0), data[:24], order)
    if magic & ~1 != _MAGIC or state != struct.unpack(">2I", data[24:32]):
        return True
    broken = False
    for start in range(_HEADER, len(data) - _FRAME - page + 1, _FRAME + page):
        frame = data[start : start + _FRAME + page]
        if frame[8:16] != data[16:24]:
            broken = True
            continue
        if not broken:
            state = _sum(_sum(state, frame[:8], order), frame[_FRAME:], order)
            broken = state != struct.unpack(">2I", frame[16:24])
        elif frame[4:8] != bytes(4):
            return True
    return False


def keep_if_damaged(root: Path) -> str | None:
    """If the log is damaged, copy it and the database aside as they were found, for whoever may mend them, and return where to."""
    database = root / DATABASE
    log = root / f"{DATABASE}-wal"
    if not is_damaged(log):
        return None
    kept = f"{DAMAGED}/{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    _log.warning("%s is damaged: the newest edits cannot be read. The files as found are kept in %s.", log, kept)
    with aside(root / DAMAGED) as temporary:
        temporary.mkdir()
        for path in (database, log):
            shutil.copyfile(path, temporary / path.name)
        settle(temporary)
        publish(temporary, root / kept)
    return kept


def _sum(state: tuple[int, int], data: bytes, order: npt.DTypeLike) -> tuple[int, int]:
    """Continue SQLite's checksum over the words x of `data`: ``s0 += x[i] + s1; s1 += x[i+1] + s0`` for even i, modulo 2**32.

    That is linear, and its coefficients are Fibonacci numbers: with n words ``s0 = F(n-1) s0 + F(n) s1 + sum F(n-1-i) x[i]``, and s1 the
    same with every index one higher.
    """
    words = np.frombuffer(data, dtype=order).astype(np.uint32)
    n = words.size
    falling = _falling_fibonacci(n)
    s0, s1 = (
        int(falling[2 - shift]) * state[0] + int(falling[1 - shift]) * state[1] + int(np.dot(words, falling[2 - shift : n + 2 - shift]))
        for shift in (0, 1)
    )
    return s0 % 2**32, s1 % 2**32


@lru_cache(maxsize=8)
def _falling_fibonacci(n: int) -> npt.NDArray[np.uint32]:
    """Return F(n+1), F(n), ..., F(0) modulo 2**32."""
    numbers = [0, 1]
    while len(numbers) < n + 2:
        numbers.append((numbers[-1] + numbers[-2]) % 2**32)
    return np.array(numbers[::-1], dtype=np.uint32)
