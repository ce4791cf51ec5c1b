"""What a damaged row was: by its checksum, if one bit of it was flipped, or by the edits and snapshots around it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import box_around, slices
from napari_breastseg.errors import SessionError
from napari_breastseg.session.annotations import unpacked
from napari_breastseg.session.disk.packing import ENCODED_HEAD, Sql, checksum, encode, pack, pack_mask
from napari_breastseg.session.disk.text import to_json
from napari_breastseg.session.journal import now
from napari_breastseg.session.upkeep.bits import CRC32, flipped_bit, with_flipped

_JSON = {
    "case": ("shape", "geometry", "times", "metadata", "manifest"),
    "edit": ("box",),
    "snapshot": ("manifest",),
    "mark": ("value",),
    "prediction": ("details", "arrays", "manifest"),
    "model": ("card",),
    "round": ("case_ids", "reasons", "figures", "seqs"),
    "event": ("details",),
}
_INTEGER_WIDTHS = (8, 16, 24, 32, 48, 64)
"""Bits in which SQLite stores an integer; the highest is its sign."""


def with_one_bit(table: str, row: sqlite3.Row) -> dict[str, Sql] | None:
    """Return the values of a damaged row with the one bit flipped back that makes them fit their checksum; None if there is no such bit.

    A flip of the checksum itself gives the values as they are. Where two answers fit, as they can in the last four bytes, only one that
    makes sense is given.
    """
    names = [name for name in row.keys() if name != "crc"]
    values: list[Sql] = [row[name] for name in names]
    kept = row["crc"]
    if not isinstance(kept, int):
        return None
    found = [dict(zip(names, candidate, strict=True)) for candidate in _candidates(values, kept)]
    sensible = [one for one in found if _makes_sense(table, one)]
    return sensible[0] if len(sensible) == 1 else None


def _candidates(values: list[Sql], kept: int) -> Iterator[list[Sql]]:
    if (checksum(values) ^ kept).bit_count() == 1:
        yield values
    for index, value in enumerate(values):
        if isinstance(value, int):
            for other in {value ^ 1 << bit for bit in range(63)} | {value + sign * (1 << w) for w in _INTEGER_WIDTHS for sign in (-1, 1)}:
                if checksum(changed := [*values[:index], other, *values[index + 1 :]]) == kept:
                    yield changed
    encoded = encode(values)
    bit = flipped_bit(b"".join(encoded), kept, CRC32)
    if bit is None:
        return
    for index, (value, part) in enumerate(zip(values, encoded, strict=True)):
        inside = bit - 8 * ENCODED_HEAD
        if isinstance(value, str | bytes) and 0 <= inside < 8 * (len(part) - ENCODED_HEAD):
            data = with_flipped(part[ENCODED_HEAD:], inside)
            yield [*values[:index], data if isinstance(value, bytes) else data.decode("utf-8", "surrogateescape"), *values[index + 1 :]]
        bit -= 8 * len(part)


def _makes_sense(table: str, values: dict[str, Sql]) -> bool:
    """Tell whether texts are UTF-8 and JSON is as we write it."""
    try:
        for value in values.values():
            if isinstance(value, str):
                value.encode()
        return all(to_json(json.loads(str(values[name])), "") == values[name] for name in _JSON[table])
    except (ValueError, SessionError):
        return False


def from_around(
    row: sqlite3.Row, before: npt.NDArray[np.uint8], later: npt.NDArray[np.uint8], between: list[sqlite3.Row], undoable: Collection[int]
) -> dict[str, Sql]:
    """Return what a damaged edit did: what differs between the version before it and the one after it.

    Parameters
    ----------
    row : Row
        The damaged edit; what is left of its tool and time is kept.
    before : ndarray
        The annotation before it.
    later : ndarray
        The annotation of a later snapshot; changed in place into the one right after the edit.
    between : list of Row
        The edits after it until that snapshot, oldest first; their old values lead back.
    undoable : collection of int
        The edits that it could have undone or redone: if it says another one, it is taken for a stroke.
    """
    for edit in reversed(between):
        box, mask, _, old = unpacked(edit, later.shape)
        later[slices(box)][mask] = old
    box = box_around(before != later) or ((0, 1), (0, 1), (0, 1))
    place = slices(box)
    mask = before[place] != later[place]
    if not mask.any():
        mask[:] = True
    values: dict[str, Sql] = {name: row[name] for name in row.keys() if name != "crc"}
    return values | {
        "box": to_json(box, "The edit"),
        "voxels": int(np.count_nonzero(mask)),
        "mask": pack_mask(mask),
        "new": pack(later[place][mask]),
        "old": pack(before[place][mask]),
        "base": row["seq"] - 1,
        "tool": str(row["tool"]).encode("utf-8", "replace").decode(),
        "time": _time(row["time"]) or (_time(between[0]["time"]) if between else None) or now(),
        "undoes": row["undoes"] if row["undoes"] in undoable else None,
    }


def _time(text: object) -> str | None:
    """Return a time if it is one."""
    try:
        return datetime.fromisoformat(str(text)).isoformat()
    except ValueError:
        return None
