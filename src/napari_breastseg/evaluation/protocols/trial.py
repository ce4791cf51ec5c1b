"""What the protocols P1 and P3 share: where cases come from, settings by recipe, parts that are kept, and figures over cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Case
from napari_breastseg.evaluation.metrics import bootstrap_interval
from napari_breastseg.evaluation.protocols.material import Examination, stream
from napari_breastseg.evaluation.protocols.recipes import recipe
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods.model import load_model
from napari_breastseg.progress import Job
from napari_breastseg.training.config import LearnConfig
from napari_breastseg.training.settings import claim_folder

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Cases:
    """What a protocol runs on.

    Parameters
    ----------
    about : mapping
        JSON-ready; tells these cases from others, so that figures of both are never mixed.
    of : callable
        Makes or reads the examinations of a seed, in order.
    """

    about: Mapping[str, Any]
    of: Callable[[int], Iterable[Examination]]


def phantoms(count: int) -> Cases:
    """The first `count` examinations of each seed's stream from another scanner."""
    return Cases({"phantoms": count}, lambda seed: stream(seed, count))


def one_case(case: Case, truth: npt.NDArray[np.uint8]) -> Cases:
    """The same case for every seed."""
    about = {"case": case.name, "reference": hashlib.sha256(np.ascontiguousarray(truth).data).hexdigest()}
    return Cases(about, lambda seed: [Examination(case, truth)])


def config_of(name: str, seed: int, settings: Mapping[str, Any]) -> LearnConfig | None:
    """Return how the recipe learns, `settings` on top; None if it does not."""
    found = recipe(name)
    return LearnConfig(**{"seed": seed, **found.settings, **settings}) if found.learns else None


def claim_recipe(folder: Path, name: str, cases: Cases, model: str | Path, settings: Mapping[str, Any]) -> None:
    """Claim `folder` for trials of this recipe, as it is now, with these cases, model and settings of learning."""
    config = config_of(name, 0, settings)
    learning = asdict(config) if config else {}
    claim_folder(folder, {"cases": cases.about, "model": load_model(model).sha, "made": asdict(recipe(name)), "learning": learning})


def kept(path: Path, job: Job[dict[str, Any]]) -> Job[dict[str, Any]]:
    """Return what `path` holds; if it does not exist, do the job and write its result there."""
    if path.is_file():
        job.close()
        return dict(json.loads(path.read_text(encoding="utf-8")))
    result = yield from job
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1).encode())
    return result


def by_case(rows: Iterable[Row], figure: str) -> dict[str, float]:
    """Return a figure of each case, averaged over its seeds: what lies within a case is not independent."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["case"], []).append(float(row[figure]))
    return {case: float(np.mean(values)) for case, values in found.items()}


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Return the mean of one value per case and, of more than one, its 95 % bootstrap interval."""
    known = list(values)
    return {"mean": float(np.mean(known)), "ci95": list(bootstrap_interval(known)) if len(known) > 1 else None}


def paired(rows: Iterable[Row], others: Iterable[Row], figure: str) -> dict[str, Any]:
    """Return by how much a figure of `rows` exceeds that of `others`, case by case."""
    ours, theirs = by_case(rows, figure), by_case(others, figure)
    return summary(ours[case] - theirs[case] for case in ours)


def written(report: dict[str, Any], text: str, out: Path) -> dict[str, Any]:
    """Write a report as JSON and as the Markdown document `text` into `out`, and return it with "markdown" and "files"."""
    path = out / f"{report['protocol']}.md"
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    write_atomically(path.with_suffix(".json"), json.dumps(report, indent=1).encode())
    return {**report, "markdown": text, "files": [str(path), str(path.with_suffix(".json"))]}


def cell(figure: Mapping[str, Any], digits: int = 3, sign: str = "") -> str:
    """Write a summary as its mean and, where it has one, its interval; with `sign` "+" a difference."""
    text = f"{figure['mean']:{sign}.{digits}f}"
    return text + (f" ({figure['ci95'][0]:{sign}.{digits}f} to {figure['ci95'][1]:{sign}.{digits}f})" if figure["ci95"] else "")
