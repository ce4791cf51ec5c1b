"""The loop on one case from three starting errors: the model as it is, one that sees too much, and one that sees too little.

The other two are made from the first by moving the bias of its last layer, so that what the network knows is the same and only its
judgement is off. How far is found by trying, with the reference: until the model finds three times the tumour's volume, or misses four
fifths of the tumour. It takes more than one trial because a prediction blends windows that disagree, which the shift moves less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from napari_breastseg.case import Case, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols.stream_tables import markdown
from napari_breastseg.evaluation.protocols.trial import written
from napari_breastseg.evaluation.simulate import simulate
from napari_breastseg.inference import predict
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job

TOO_MUCH = 3.0
"""Volume that is found by the model that sees too much, in volumes of the tumour."""
TOO_LITTLE = 0.8
"""Share of the tumour that is missed by the model that sees too little."""
CLOSE = 0.1
"""How near to these, relative to the one and absolute to the other, is near enough."""
TRIALS = 6
"""Predictions of one start after which the last shift is taken."""
BIAS = "head.bias"

Reference = npt.NDArray[Any]
Probability = npt.NDArray[np.float32]
Further = Callable[[Probability, Reference, float], float]
"""By how much a start's log-odds must still rise, from its probability, the reference and the threshold."""


def starting_errors(
    case: Case,
    reference: Reference,
    out: Path,
    model: str | Path = "hcma-unet",
    rounds: int = 3,
    device: str = "auto",
    seed: int = 0,
) -> Job[dict[str, Any]]:
    """Let the robot correct and the model learn for `rounds` rounds, from each of the three starts.

    Parameters
    ----------
    case : Case
    reference : ndarray, shape (z, y, x)
        Tumour where not 0.
    out : Path
        Receives the starting models; the sessions are not kept.
    model : str or Path
    rounds : int
    device : str
    seed : int
        Of the robot.

    Returns
    -------
    dict
        JSON-ready. "starts": for each the "start" in words, the "shift" of its log-odds, its "model" (sha256) and the "rounds" of
        :func:`~napari_breastseg.evaluation.simulate.simulate`. Also "markdown" and "files".

    Raises
    ------
    InputError
        If the reference is on another grid or empty, or the model's last layer has no bias.
    BreastSegError
        What predicting, learning and the session raise.
    """
    if reference.shape != case.shape or not reference.any():
        raise InputError(f"The reference of {case.name} is on another grid or empty. Give a mask of the tumour on the case's grid.")
    start = load_model(model)
    first = yield from predict(case, start, device=device)
    starts = []
    for name, further in STARTS.items():
        shift = yield from _shift(case, reference, start, first, further, device)
        chosen = shifted(start, shift, out / "models") if shift else start.path
        done = yield from simulate(case, reference, chosen, rounds, None, device, seed)
        starts.append({"start": name, "shift": round(shift, 3), "model": load_model(chosen).sha, "rounds": done["rounds"]})
    report = {"protocol": "starting-errors", "case": case.name, "parent": start.sha, "starts": starts}
    return written(report, _text(report), out)


def _shift(case: Case, reference: Reference, start: Model, first: Prediction, further: Further, device: str) -> Job[float]:
    """Return the shift with which a prediction needs no further one; `first` is what the model as it is predicts."""
    threshold, shift, prediction = start.threshold, 0.0, first
    with TemporaryDirectory() as folder:
        for _ in range(TRIALS):
            more = further(np.asarray(prediction.probability), reference, threshold)
            if more == 0:
                break
            shift += more
            prediction = yield from predict(case, load_model(shifted(start, shift, Path(folder))), device=device)
    return shift


def sees_too_much(probability: Probability, reference: Reference, threshold: float) -> float:
    """Return by how much the log-odds must rise for the prediction to find :data:`TOO_MUCH` volumes; 0 if it nearly does.

    Parameters
    ----------
    probability : ndarray, shape (z, y, x)
        Of tumour.
    reference : ndarray, shape (z, y, x)
        Tumour where not 0.
    threshold : float
        Probability from which a voxel is tumour.
    """
    volume = np.count_nonzero(reference)
    if abs(np.count_nonzero(probability >= threshold) / volume - TOO_MUCH) <= CLOSE * TOO_MUCH:
        return 0.0
    first = probability.size - min(probability.size, round(TOO_MUCH * volume))
    return float(logit(threshold) - np.partition(_log_odds(probability), first, axis=None)[first])


def sees_too_little(probability: Probability, reference: Reference, threshold: float) -> float:
    """Return by how much the log-odds must rise (they fall) for it to miss :data:`TOO_LITTLE` of the tumour; 0 if it nearly does."""
    tumour = probability[reference != 0]
    if abs(np.count_nonzero(tumour < threshold) / tumour.size - TOO_LITTLE) <= CLOSE:
        return 0.0
    return float(logit(threshold) - np.quantile(_log_odds(tumour), TOO_LITTLE))


def _log_odds(probability: Probability) -> npt.NDArray[np.float64]:
    odds: npt.NDArray[np.float64] = logit(np.clip(probability.astype(np.float64), 1e-30, 1 - 1e-7))
    return odds


STARTS: Mapping[str, Further] = {"as it is": lambda *_: 0.0, "sees too much": sees_too_much, "sees too little": sees_too_little}


def shifted(model: Model, shift: float, folder: Path) -> Path:
    """Write the model with the log-odds of tumour raised by `shift` and return the path of its weights.

    Raises
    ------
    InputError
        If its last layer has no bias.
    """
    if BIAS not in model.weights:
        raise InputError(f"The last layer of {model.preset.name} has no bias that could be moved. Choose another model.")
    bias = model.weights[BIAS].clone()
    bias[1] += shift
    card = {key: value for key, value in model.card.items() if key != "metrics"}
    return save_model({**model.weights, BIAS: bias}, card | {"parent": model.sha, "log_odds_shift": shift}, folder)


def _text(report: Mapping[str, Any]) -> str:
    headings = ["Start", "Round", "Dice", "Dice shown", "Strokes", "Person, s", "Computer, s", "Adopted", "Reasons"]
    rows = [
        [
            start["start"],
            str(row["round"]),
            f"{row['dice']:.3f}",
            f"{row['dice_shown']:.3f}",
            str(row["strokes"]),
            f"{row['person_seconds']:.0f}",
            f"{row['seconds']:.0f}",
            "-" if row["round"] == 0 else "yes" if row["adopted"] else "no",
            "; ".join(row["reasons"]) or "-",
        ]
        for start in report["starts"]
        for row in start["rounds"]
    ]
    notes = [
        "Dice: the model's own prediction. Dice shown: with all corrections laid over it. One case, corrected by a robot that knows the "
        "reference.",
        "Log-odds of tumour raised by: " + ", ".join(f"{start['start']} {start['shift']:+.2f}" for start in report["starts"]) + ".",
    ]
    return markdown(f"Three starting errors: {report['case']}", [[headings, *rows]], notes)
