"""The command that simulates, without its options: the loop on one case, a protocol, or three starting errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.markdown import Markdown

from napari_breastseg.case import Case
from napari_breastseg.cli.report import Report
from napari_breastseg.cli.tables import rounds_table
from napari_breastseg.cli.work import refuse_early
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask, require_foreground

Files = tuple[Path, Path]
"""A case and its reference."""


@dataclass(frozen=True)
class Trial:
    """What a protocol is asked for.

    Parameters
    ----------
    protocol : str
        "p1" to "p5", or "queue".
    cases : int
        Phantoms of each seed.
    seeds : int
        How many, from 0 on.
    recipes : sequence of str, optional
        The protocol's own if not given.
    steps : int, optional
        Of each learning round.
    """

    protocol: str
    cases: int
    seeds: int
    recipes: Sequence[str] | None
    steps: int | None


def simulate_files(speaker: Report, files: Files, model: str | None, rounds: int, seed: int, device: str, folder: Path | None) -> None:
    """Read a case and its reference and let the robot go round."""
    from napari_breastseg.evaluation.simulate import simulate

    case, truth, model = _read(files, model)
    answer = speaker.run(simulate(case, truth, model, rounds, folder, device, seed))
    speaker.answer(answer, rounds_table(answer["rounds"]))


def simulate_starts(speaker: Report, files: Files, model: str | None, rounds: int, seed: int, device: str, out: Path) -> None:
    """Read a case and its reference and let the robot go round from three starting errors."""
    from napari_breastseg.evaluation.protocols.starting_errors import starting_errors

    case, truth, model = _read(files, model)
    _show(speaker, speaker.run(starting_errors(case, truth, out, model, rounds, device, seed)))


def simulate_protocol(speaker: Report, trial: Trial, files: Files | None, model: str | None, device: str, out: Path) -> None:
    """Run a protocol on phantoms, or P1 or P3 on a case with its reference."""
    from napari_breastseg.methods import FIRST

    settings = {} if trial.steps is None else {"steps": trial.steps}
    given, model = model, model or FIRST
    if trial.protocol in ("p2", "p4", "p5"):
        from napari_breastseg.evaluation.protocols.stream import Plan
        from napari_breastseg.evaluation.protocols.streams import simulate_streams

        if files is not None:
            raise InputError(f"{trial.protocol} needs a stream of cases. Leave --case and --reference out, or choose p1 or p3.")
        plan = Plan(recipe="", seed=0, cases=trial.cases, model=model, settings=settings)
        job = simulate_streams(trial.protocol, trial.recipes or (), trial.seeds, plan, out, device)
    elif trial.protocol == "queue":
        from napari_breastseg.evaluation.protocols.queueing import queueing

        if files is not None:
            raise InputError("The queue needs many cases. Leave --case and --reference out, or choose p1 or p3.")
        job = queueing(out, trial.cases, trial.seeds, model, device, settings)
    else:
        from napari_breastseg.evaluation.protocols.effort import effort
        from napari_breastseg.evaluation.protocols.interactive import interactive
        from napari_breastseg.evaluation.protocols.trial import one_case, phantoms

        if files is None:
            cases = phantoms(trial.cases)
        else:
            case, truth, model = _read(files, given)
            cases = one_case(case, truth)
        run, recipes = (interactive, ("frozen", "refine", "full")) if trial.protocol == "p1" else (effort, ("frozen", "learn"))
        job = run(cases, out, trial.recipes or recipes, range(trial.seeds), model, device, settings)
    _show(speaker, speaker.run(job))


def _show(speaker: Report, answer: dict[str, Any]) -> None:
    """Show a report whose document is Markdown."""
    speaker.answer(answer, Markdown(answer["markdown"]), f"Written: {', '.join(answer['files'])}")


def _read(files: Files, model: str | None) -> tuple[Case, npt.NDArray[np.uint8], str]:
    """Return a case, its reference, and the model that was named or that is usual for such a case."""
    from napari_breastseg.methods import usual_method

    case = read_case(files[0])
    model = model or usual_method(case.modality)
    truth = read_mask(files[1], case)
    require_foreground(truth, files[1])
    refuse_early(case, model)
    return case, truth, model
