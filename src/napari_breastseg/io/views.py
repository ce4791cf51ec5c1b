"""Views of one patient: mammograms of both breasts and of both directions are cases of their own, but never independent of each other."""

from __future__ import annotations

import re

SIDE = "L|R|LEFT|RIGHT"
VIEW = "CC|MLO|ML|LM|XCCL|XCCM"
_VIEW = re.compile(rf"(?<![A-Z0-9])(?:L|R)?(?:{VIEW})(?![A-Z0-9])", re.IGNORECASE)
_SIDE_OR_VIEW = re.compile(rf"(?<![A-Z0-9])(?:(?:{SIDE})|(?:L|R)?(?:{VIEW}))(?![A-Z0-9])", re.IGNORECASE)


def patient_in(name: str) -> str | None:
    """Return the patient in the name of a mammogram: what stands before its side and view, or after them if nothing does.

    Views are those of DICOM (CC, MLO, ML, LM, XCCL, XCCM), alone or with a side in front of them (``P_00001_LEFT_CC``, ``A_1141.RMLO``,
    ``P1_L_CM_MLO``).

    Returns
    -------
    str or None
        None if the name says no view, or nothing else.
    """
    if _VIEW.search(name) is None:
        return None
    parts = [part.strip(" _.-") for part in _SIDE_OR_VIEW.split(name)]
    return parts[0] or "_".join(part for part in parts if part) or None
