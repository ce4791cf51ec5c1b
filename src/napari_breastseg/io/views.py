"""Views of one patient: mammograms of both breasts and of both directions are cases of their own, but no independent ones."""

from __future__ import annotations

import re

_SIDE = "L|R|LEFT|RIGHT"
_VIEW = "CC|MLO|LMO|ML|LM|XCC|XCCL|XCCM"
_TECHNIQUE = "MG|FFDM|CM|DM"
_TOKENS = re.compile(rf"(?:(?:{_SIDE})?(?:{_VIEW})\d?|{_SIDE}|{_TECHNIQUE})", re.IGNORECASE)
_SIDED = re.compile(rf"(?:{_SIDE})(?:(?:{_VIEW})\d?)?", re.IGNORECASE)
_SEEN = re.compile(rf"(?:{_SIDE})?(?:{_VIEW})\d?", re.IGNORECASE)
_PUBLIC = re.compile(r"(?<![A-Za-z0-9])P_\d{5}(?!\d)|(?<=_)[0-9a-f]{16}(?=_MG_)")
"""The patient in names of CBIS-DDSM, whatever part of it a case is in, and of INbreast, where an image's number comes first."""


def patient_in(name: str) -> str | None:
    """Return the patient in the name of a mammogram: what is left without its side, view and technique, and a small number behind them.

    Side (L, R, LEFT, RIGHT) and view (CC, MLO, ML, LM and the like) must both be there, as words of their own or as one, as in
    ``A_1141_1.LEFT_CC``, ``P1_L_CM_MLO`` or ``mammo_RMLO2_0012``.

    Returns
    -------
    str or None
        None if the name says no side and view, or nothing else.
    """
    words = re.split(r"[^A-Za-z0-9]+", name)
    places = [place for place, word in enumerate(words) if _TOKENS.fullmatch(word)]
    if not any(_SIDED.fullmatch(words[place]) for place in places) or not any(_SEEN.fullmatch(words[place]) for place in places):
        return None
    known = _PUBLIC.search(name)
    if known is not None:
        return known[0]
    left = [word for place, word in enumerate(words) if place not in places and word]
    before = [word for word in words[: places[0]] if word]
    if len(left) == len(before) + 1 and left[:-1] == before and any(map(_numbered, before)) and re.fullmatch(r"\d{1,2}", left[-1]):
        left = before  # it counts the images of a view
    return "_".join(left) or None


def _numbered(word: str) -> bool:
    return any(letter.isdigit() for letter in word)
