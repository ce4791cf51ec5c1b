"""What the dock shows, as files: curves, figures with the settings behind them, and the plot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.kinetics import Ftv, LesionKinetics, Thresholds, Timing
from napari_breastseg.kinetics.facts import Placed, curve_table, kinetic_facts
from napari_breastseg.widgets.kinetics.cursor import Probe


def export(
    folder: Path, case: Case, timing: Timing, thresholds: Thresholds, probes: Mapping[str, Probe],
    lesion: LesionKinetics | None, ftv: tuple[Ftv, str] | None, background: float | None, picture: bytes,
) -> Path:  # fmt: skip
    """Write curves.csv, kinetics.json and plot.png into a new folder within `folder`, and return that.

    Parameters
    ----------
    probes : mapping of str to Probe
        The cursor's curve and the pinned ones, by name.
    ftv : (Ftv, str), optional
        With where it was measured, in words.
    background : float, optional
        Enhancement of the fibroglandular tissue, %.
    picture : bytes
        PNG.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    made = _new_folder(folder, case.name)
    curves: dict[str, Placed] = {name: (probe.curve, probe.index) for name, probe in probes.items()}
    if lesion is not None:
        curves["lesion"] = (lesion.curve, None)
    facts = kinetic_facts(case, timing, thresholds, curves, lesion, ftv, background)
    write_atomically(made / "curves.csv", curve_table(curves, timing).encode())
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
