"""What the dock shows, as files: curves, figures with the settings behind them, and the plot."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.kinetics import Ftv, LesionKinetics, Thresholds, Timing, describe
from napari_breastseg.kinetics.colours import SER_BINS
from napari_breastseg.kinetics.curves import CURVES, baseline, percent_enhancement
from napari_breastseg.kinetics.lesion import Curve
from napari_breastseg.software import software
from napari_breastseg.widgets.kinetics.cursor import Probe

COLUMNS = (
    "curve", "z", "y", "x", "voxels", "phase", "seconds_after_injection", "signal_mean", "signal_sd", "percent_enhancement",
)  # fmt: skip


def export(
    folder: Path, case: Case, timing: Timing, thresholds: Thresholds, probes: Mapping[str, Probe],
    lesion: LesionKinetics | None, ftv: tuple[Ftv, str] | None, picture: bytes,
) -> Path:  # fmt: skip
    """Write curves.csv, kinetics.json and plot.png into a new folder within `folder`, and return that.

    Parameters
    ----------
    probes : mapping of str to Probe
        The cursor's curve and the pinned ones, by name.
    ftv : (Ftv, str), optional
        With where it was measured, in words.
    picture : bytes
        PNG.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    made = _new_folder(folder, case.name)
    curves = {name: (probe.curve, probe.index) for name, probe in probes.items()}
    where: dict[str, tuple[Curve, tuple[int, int, int] | None]] = {**curves}
    if lesion is not None:
        where["lesion"] = (lesion.curve, None)
    facts = {
        "case": case.name,
        "timing": {"seconds_after_injection": timing.seconds, "known": timing.known, "notes": timing.notes},
        "phases": {"early": timing.early, "pe": timing.pe, **({"ser_late": timing.ser_late} if timing.delayed else {})},
        "thresholds_percent": asdict(thresholds),
        "curves": {name: _summary(curve, place, timing, thresholds) for name, (curve, place) in where.items()},
        "lesion": None if lesion is None else _lesion(lesion),
        "functional_tumour_volume": None if ftv is None else _ftv(*ftv),
        "software": software(),
    }
    write_atomically(made / "curves.csv", _table(where, timing).encode())
    write_atomically(made / "kinetics.json", json.dumps(facts, indent=2).encode())
    write_atomically(made / "plot.png", picture)
    return made


def _new_folder(folder: Path, name: str) -> Path:
    """Make a folder that was not there: nothing is written over."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._") or "case"
    for number in range(1, 1000):
        made = folder / (f"{plain} kinetics" if number == 1 else f"{plain} kinetics {number}")
        try:
            made.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"{made} could not be made ({error.strerror or error}). Choose a folder that can be written to.") from error
        return made
    raise InputError(f"{folder} holds a thousand exports of this case already. Choose another folder.")


def _table(curves: Mapping[str, tuple[Curve, tuple[int, int, int] | None]], timing: Timing) -> str:
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
    return {**asdict(summary), "type": kind, "place_zyx": place, "voxels": curve.voxels}


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
