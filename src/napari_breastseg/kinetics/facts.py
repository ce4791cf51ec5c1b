"""What was measured, as a table of curves and as JSON-ready facts with the settings behind them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from napari_breastseg.case import Case
from napari_breastseg.kinetics.colours import SER_BINS
from napari_breastseg.kinetics.curves import CURVES, Thresholds, baseline, describe, percent_enhancement
from napari_breastseg.kinetics.ftv import Ftv
from napari_breastseg.kinetics.lesion import Curve, LesionKinetics
from napari_breastseg.kinetics.timing import Timing
from napari_breastseg.software import software

Placed = tuple[Curve, tuple[int, int, int] | None]
"""A curve and the voxel (z, y, x) around which it was read, if it was."""
COLUMNS = (
    "curve", "z", "y", "x", "voxels", "phase", "seconds_after_injection", "signal_mean", "signal_sd", "percent_enhancement",
)  # fmt: skip


def kinetic_facts(
    case: Case, timing: Timing, thresholds: Thresholds, curves: Mapping[str, Placed], lesion: LesionKinetics | None,
    ftv: tuple[Ftv, str] | None, background: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Return all that was measured of a case.

    Parameters
    ----------
    case : Case
    timing : Timing
    thresholds : Thresholds
    curves : mapping of str to Placed
        By name.
    lesion : LesionKinetics, optional
    ftv : (Ftv, str), optional
        With where it was measured, in words.
    background : float, optional
        Enhancement of the fibroglandular tissue, %.
    """
    return {
        "case": case.name,
        "timing": {"seconds_after_injection": timing.seconds, "slopes_hold": timing.known, "assumed": timing.notes},
        "phases": {"early": timing.early, "pe": timing.pe, **({"ser_late": timing.ser_late} if timing.delayed else {})},
        "thresholds_percent": asdict(thresholds),
        "curves": {name: _summary(curve, place, timing, thresholds) for name, (curve, place) in curves.items()},
        "lesion": None if lesion is None else _lesion(lesion),
        "functional_tumour_volume": None if ftv is None else _ftv(*ftv),
        "background_enhancement_percent": background,
        "software": software(),
    }


def curve_table(curves: Mapping[str, Placed], timing: Timing) -> str:
    """Return curves as CSV, one line for each phase."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, (curve, place) in curves.items():
        enhancement = percent_enhancement(curve.mean, baseline(curve.mean, timing))
        for phase, seconds in enumerate(timing.seconds):
            values = (f"{value:.6g}" for value in (seconds, curve.mean[phase], curve.sd[phase], enhancement[phase]))
            writer.writerow([name, *(place or ("", "", "")), curve.voxels, phase, *values])
    return text.getvalue()


def _summary(curve: Curve, place: tuple[int, int, int] | None, timing: Timing, thresholds: Thresholds) -> dict[str, Any]:
    summary = describe(curve.mean, timing, thresholds)
    kind = None if summary.type is None else CURVES[summary.type]
    slopes = {} if timing.known else {"wash_in": None, "wash_out": None}
    return {**asdict(summary), **slopes, "type": kind, "place_zyx": place, "voxels": curve.voxels}


def _lesion(lesion: LesionKinetics) -> dict[str, Any]:
    worst = lesion.worst
    return {
        "ml": lesion.ml,
        "peak_pe": lesion.peak_pe,
        "shares_percent": None if lesion.shares is None else dict(zip(CURVES, lesion.shares, strict=True)),
        "worst": None if worst is None else {"place_zyx": worst.place, "voxels": worst.voxels, "words": worst.summary.words},
        "words": lesion.words,
    }


def _ftv(ftv: Ftv, region: str) -> dict[str, Any]:
    return {
        "ml": ftv.ml,
        "name": ftv.name,
        "reason": ftv.reason,
        "region": region,
        "ser_ml": {bin_.name: ml for bin_, ml in zip(SER_BINS, ftv.ser_ml, strict=True)},
        "beyond_ml": ftv.beyond_ml,
        "settings": asdict(ftv.settings),
    }
