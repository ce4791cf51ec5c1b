"""The figures of finished streams: corrections saved (P2) and what was forgotten (P4), from their records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_breastseg.evaluation.protocols.annotate import THRESHOLDS, corrections_to

Record = Mapping[str, Any]
TOLERANCE = 0.01
"""Mean Dice on the base set that a version may lose before it counts as worse than the base model."""
TRAIL = 5
"""Corrections after which the Dice is reported, one by one."""


def paired_interval(
    ours: Sequence[float], theirs: Sequence[float], relative: bool, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float] | None:
    """Compare two runs of the same cases: the figure, and the ends of its 95 % paired bootstrap interval over the cases.

    Parameters
    ----------
    ours, theirs : sequence of float
        One value of each case, in the same order.
    relative : bool
        The figure: what `ours` saves of the sum of `theirs` in %, else the mean of `ours` minus `theirs`.

    Returns
    -------
    tuple or None
        None where there is nothing to save.
    """
    pairs = np.array([ours, theirs], float)
    drawn = pairs[:, np.random.default_rng(seed).integers(pairs.shape[1], size=(draws, pairs.shape[1]))].sum(-1)
    total = pairs.sum(-1)
    if relative:
        if not total[1]:
            return None
        drawn = drawn[:, drawn[1] > 0]
        figure, values = 100 * (1 - total[0] / total[1]), 100 * (1 - drawn[0] / drawn[1])
    else:
        figure, values = (total[0] - total[1]) / pairs.shape[1], (drawn[0] - drawn[1]) / pairs.shape[1]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(figure), float(low), float(high)


def before(record: Record) -> list[float]:
    """Dice of each case before any correction."""
    return [row["dice"][0] for row in record["cases"]]


def needed(record: Record, threshold: float) -> list[int]:
    """Corrections that each case took to reach a Dice."""
    return [corrections_to(threshold, row["dice"]) for row in record["cases"]]


def corrections(records: Sequence[Record], frozen: Sequence[Record]) -> dict[str, Any]:
    """Sum up the streams of one recipe beside those of the frozen model with the same seeds, which may be missing."""
    rows = [row for record in records for row in record["cases"]]
    trails = [[row["dice"][min(number, len(row["dice"]) - 1)] for number in range(TRAIL + 1)] for row in rows]
    figures: dict[str, Any] = {
        "cases": len(rows),
        "dice_before": float(np.mean(_before(records))),
        "dice_before_second_half": float(np.mean(_before(records, second_half=True))),
        "dice_after": np.mean(trails, axis=0).tolist(),
    }
    if frozen:
        late, late_frozen = (_before(some, second_half=True) for some in (records, frozen))
        figures["dice_before_second_half_gain"] = paired_interval(late, late_frozen, relative=False)
    steps = [after - now for row in rows for now, after in zip(row["dice"], row["dice"][1:], strict=False)]
    figures["made_worse_percent"] = 100 * float(np.mean([step < 0 for step in steps])) if steps else 0.0
    figures["taken_back_percent"] = 100 * sum(row["taken_back"] for row in rows) / max(len(steps), 1)
    for threshold in THRESHOLDS:
        ours = sum((needed(record, threshold) for record in records), [])
        entry: dict[str, Any] = {"mean": float(np.mean(ours)), "not_reached": sum(row["dice"][-1] < threshold for row in rows)}
        if frozen:
            theirs = sum((needed(record, threshold) for record in frozen), [])
            entry["saved_percent"] = paired_interval(ours, theirs, relative=True)
            entry["more_than_frozen"] = sum(mine > other for mine, other in zip(ours, theirs, strict=True))
        figures[f"corrections_to_{threshold:.2f}"] = entry
    return figures


def _before(records: Sequence[Record], second_half: bool = False) -> list[float]:
    return [value for record in records for value in before(record)[len(record["cases"]) // 2 if second_half else 0 :]]


def forgetting(record: Record) -> dict[str, Any]:
    """What one stream forgot and which versions it adopted; see :func:`backward_transfer` for two of the figures."""
    base = {name: float(np.mean(values)) for name, values in record["base"].items()}
    adopted = [row for row in record["rounds"] if row["adopted"]]
    means = [{name: float(np.mean(values)) for name, values in row["sets"].items()} for row in adopted]
    final = means[-1] if means else base
    transfer, worst = backward_transfer(record["rounds"])
    return {
        "base": base,
        "final": final,
        "base_set_change": final["base"] - base["base"],
        "shifted_set_change": final["shifted"] - base["shifted"],
        "backward_transfer": transfer,
        "worst_drop": worst,
        "adopted": len(adopted),
        "refused": sum("number" in row and not row["adopted"] for row in record["rounds"]),
        "adopted_below_base": sum(mean["base"] < base["base"] - TOLERANCE for mean in means),
        "adopted_below_base_on_shifted": sum(mean["shifted"] < base["shifted"] for mean in means),
    }


def backward_transfer(rounds: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Return the backward transfer and the worst drop of the cases of a stream.

    Backward transfer: the mean, over all cases but those of the last round, of the Dice at the end minus the Dice right after the case was
    learned (as in Lifelong nnU-Net, doi 10.1038/s41598-023-34484-2). The worst drop: the largest fall below the Dice right after learning
    that any case shows at any look back, 0 if none falls. None without a look back at an earlier case.
    """
    learned: list[float] = []
    changes: list[list[float]] = []
    for row in rounds:
        if "earlier" in row and learned:
            changes.append([now - then for now, then in zip(row["earlier"], learned, strict=False)])
        learned += row["learned"]
    if not changes:
        return None, None
    return float(np.mean(changes[-1])), max(0.0, -min(map(min, changes)))


def seconds(records: Sequence[Record]) -> dict[str, float]:
    """Median seconds of each step over streams of one recipe: of a case and of a round that was learned."""
    found: dict[str, list[float]] = {}
    for record in records:
        for row in [*record["cases"], *(row for row in record["rounds"] if "number" in row)]:
            for name, value in row["seconds"].items():
                found.setdefault(name, []).append(value)
    return {name: float(np.median(values)) for name, values in found.items()}
