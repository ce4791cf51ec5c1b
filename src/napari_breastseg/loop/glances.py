"""A quick look at the cases of a session, at half resolution: what the queue needs to know, computed once per case and model.

It is kept as small JSON files in the user's cache folder, named by the case's hash and the model's sha256: they hold numbers of a model, no
images and no names, and whatever is missing or damaged there is computed again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import platformdirs

from napari_breastseg.case import TUMOUR, Case
from napari_breastseg.errors import InputError
from napari_breastseg.inference.grids import Grid, plan_grids
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.sweep import PLAIN, Flip, flips_of
from napari_breastseg.inference.uncertainty import entropy_of, mean_probability, summary
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods.model import Model, load_model
from napari_breastseg.preprocess.breast_region import BreastRegion
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

Vector: TypeAlias = npt.NDArray[np.float64]
_VERSION = 1  # counts changes of what is computed that make cached numbers stale


@dataclass(frozen=True)
class Glance:
    """What a quick look at a case says.

    Attributes
    ----------
    entropy : float
        "relative" of :class:`napari_breastseg.inference.uncertainty.Uncertainty`.
    unsure : str
        How much the model is unsure of, such as "3.2 mL"; empty if of nothing.
    features : ndarray, shape (feature,)
        The encoder's deepest features, mean over the breasts.
    disagreement : float or None
        1 - Dice between the masks of the model and of the one that it learned from; None if there is no such model.
    """

    entropy: float
    unsure: str
    features: Vector
    disagreement: float | None


class Glances:
    """Looks at the cases of a session with its current model.

    Parameters
    ----------
    session : Session
    model : str or Path
        What looks as long as the session has no current model.
    device : str
    cache : Path, optional
        Folder of what was seen before; in the user's cache folder if not given.
    """

    def __init__(self, session: Session, model: str | Path, device: str, cache: Path | None = None) -> None:
        self._session, self._device = session, device
        self._folder = cache or Path(platformdirs.user_cache_dir("napari-breastseg")) / f"queue-{_VERSION}"
        current = session.current_model
        self._models: dict[str, Model] = {}
        if current is None:
            chosen = load_model(model)
            self._models[chosen.sha], current = chosen, chosen.sha
        known = {row.sha: row.parent for row in session.models()}
        parent = known.get(current)
        self._current, self._before = current, parent if parent in known else None
        self._runners: dict[str, Runner] = {}
        self._planned: tuple[str, list[Grid], BreastRegion] | None = None

    def look(self, case_id: str) -> Job[Glance]:
        """Return what there is to know of a case that waits.

        Raises
        ------
        InputError
            If the model cannot read the case.
        SessionError
            If the case is damaged.
        ModelError
            If a model is damaged.
        ComputeError
            If the device is missing or memory does not suffice.
        """
        entropy, unsure_ml = yield from self._remembered(case_id, "entropy", 2, lambda: self._entropy(case_id))
        features = yield from self.features(case_id)
        disagreement = None if self._before is None else (yield from self._disagreement(case_id, self._before))
        return Glance(entropy, _amount(unsure_ml, self._session.case(case_id)), features, disagreement)

    def features(self, case_id: str) -> Job[Vector]:
        """Return the features of any case; raises as :meth:`look` does."""
        values = yield from self._remembered(case_id, "features", None, lambda: self._features(case_id))
        return np.array(values)

    def _entropy(self, case_id: str) -> Job[Sequence[float]]:
        case = self._session.case(case_id)
        probability = yield from self._probability(case_id, case, self._current, flips_of(case.shape))
        return summary(probability, entropy_of(probability), case.geometry.voxel_ml)

    def _features(self, case_id: str) -> Job[Sequence[float]]:
        runner = self._runner(self._current)
        grids, _ = self._plan(case_id, self._session.case(case_id), runner)
        windows = [grid.window(window) for grid in grids for window in grid.windows]
        seen = []
        for window in windows:
            seen.append(runner.pooled(window))
            yield Progress(len(seen), len(windows), "Looking at features")
        return [float(value) for value in np.mean(seen, 0)]

    def _disagreement(self, case_id: str, before: str) -> Job[float]:
        latest = {row.model: row.id for row in self._session.predictions(case_id) if not row.refined}
        if self._current in latest and before in latest:
            (value,) = yield from self._remembered(
                case_id, f"stored-{before[:16]}", 1, lambda: self._between_stored(case_id, latest[self._current], latest[before])
            )
        else:
            (value,) = yield from self._remembered(case_id, f"coarse-{before[:16]}", 1, lambda: self._between_coarse(case_id, before))
        return value

    def _between_stored(self, case_id: str, *numbers: int) -> Job[Sequence[float]]:
        yield Progress(0, 1, "Comparing predictions")
        found = [self._session.prediction(case_id, number, in_memory=False) for number in numbers]
        now, then = (prediction.refined == TUMOUR for prediction in found if prediction is not None)
        return [_apart(now, then)]

    def _between_coarse(self, case_id: str, before: str) -> Job[Sequence[float]]:
        case = self._session.case(case_id)
        masks = []
        for sha in (self._current, before):
            probability = yield from self._probability(case_id, case, sha, PLAIN)
            masks.append(probability > self._runner(sha).model.threshold)
        return [_apart(*masks)]

    def _probability(self, case_id: str, case: Case, sha: str, flips: Sequence[Flip]) -> Job[npt.NDArray[np.float32]]:
        runner = self._runner(sha)
        grids, place = self._plan(case_id, case, runner)
        return (yield from mean_probability(case.shape, grids, runner, flips)) * place.inside

    def _plan(self, case_id: str, case: Case, runner: Runner) -> tuple[list[Grid], BreastRegion]:
        preset = runner.model.preset
        key = f"{case_id} {preset.name}"
        if self._planned is None or self._planned[0] != key:
            self._planned = None  # before the next one is made: a case is large
            grids, place = plan_grids(case, preset)
            self._planned = key, [grid.halved(preset.patch) for grid in grids], place
        return self._planned[1:]

    def _runner(self, sha: str) -> Runner:
        if sha not in self._runners:
            model = self._models.get(sha) or load_model(self._session.model_path(sha))
            self._runners[sha] = Runner(model, self._device)
        return self._runners[sha]

    def _remembered(self, case_id: str, what: str, count: int | None, job: Callable[[], Job[Sequence[float]]]) -> Job[Sequence[float]]:
        """Return `count` numbers (any if None) from the cache, or from a job that is then kept there."""
        path = self._folder / f"{case_id.rsplit('-', 1)[-1]}-{self._current[:16]}-{what}.json"
        kept = _read(path)
        if kept is not None and len(kept) == (count or len(kept)):
            return kept
        found = yield from job()
        with suppress(OSError, InputError):  # what cannot be kept costs time, nothing else
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(list(found)).encode())
        return found


def _read(path: Path) -> list[float] | None:
    """Return the finite numbers that a file holds, None if it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not found or not all(isinstance(value, float) and math.isfinite(value) for value in found):
        return None
    return found


def _amount(ml: float, case: Case) -> str:
    """Return a volume in words; of an image, which has none, the pixels."""
    if case.flat:
        pixels = round(ml / case.geometry.voxel_ml)
        return f"{pixels} pixels" if pixels else ""
    return f"{ml:.{1 if ml >= 0.95 else 2}f} mL" if ml >= 0.005 else ""


def _apart(now: npt.NDArray[np.bool_], then: npt.NDArray[np.bool_]) -> float:
    """Return 1 - Dice of two masks; two empty ones agree."""
    together = int(now.sum()) + int(then.sum())
    return 1 - 2 * int((now & then).sum()) / together if together else 0.0
