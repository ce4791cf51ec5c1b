"""Which corrections train and which are held out: drawn once by hash, the same on every machine, never drawn again."""

from __future__ import annotations

import hashlib
from typing import Literal

HELD_OUT_SHARE = 0.2
"""Share of the corrections that never train. Changing it would redraw every split: it is part of the format."""


def split(case_id: str, component_key: str) -> Literal["train", "held-out"]:
    """Return the side on which a correction stands.

    Parameters
    ----------
    case_id : str
        The case in the session; the id ends in a hash of the images, so the same examination has the same split in every session.
    component_key : str
        What names the corrected component within the case and does not change later, such as the seq of its first edit.
    """
    digest = hashlib.sha256(f"{case_id}\n{component_key}".encode()).digest()
    return "held-out" if int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64 else "train"
