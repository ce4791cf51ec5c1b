"""What one stroke costs on a large case, beside plain Zarr and Icechunk in the same run, and what history and reopening cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_breastseg.evaluation.session_trials.material import Shape
from napari_breastseg.evaluation.session_trials.painting import main_thread_ms
from napari_breastseg.evaluation.session_trials.stores import OURS, Store, kilobytes, open_stores
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session
from napari_breastseg.session.disk.places import DATABASE

SHAPE: Shape = (256, 512, 512)
RADIUS = 10
VERSIONS = 12
"""How many versions are shown, chosen at random."""
SLICE = 25
"""Strokes between two reports of progress."""
Figures = dict[str, Any]


def stroke_latency(place: Path, strokes: int = 10_000, compared: int = 200, shape: Shape = SHAPE) -> Job[Trial]:
    """Draw `strokes` spheres at random places: `compared` of them in every store in turn, the rest in the session without a pause."""
    rng = np.random.default_rng()
    stores = open_stores(place, shape)
    rows = yield from _in_turn({name: store for name, store in stores.items() if store}, place, compared, shape, rng)
    rows += [{"store": name, "note": "not installed"} for name, store in stores.items() if store is None]
    first, folder = rows[0], place / OURS
    with Session.open(folder) as session:
        (case_id,) = session.cases
        main_thread = yield from main_thread_ms(session, case_id, [sphere(rng, 0, shape) for _ in range(compared)])
        unbroken = yield from _without_pause(session, case_id, strokes, shape, rng)
    figures = unbroken | _reopened(folder, case_id, rng)
    aims = (
        Aim("commit, median", first["commit_p50_ms"], 3, "ms"),
        Aim("commit, 95 %", first["commit_p95_ms"], 20, "ms"),
        Aim("main thread, 95 %", main_thread["p95_ms"], 1, "ms"),
        Aim(f"growth per stroke, {figures['strokes']} strokes", figures["growth_kb"], 10, "kB"),
        Aim(f"slowest of {VERSIONS} versions shown", figures["slowest_version_s"], 0.5, "s"),
        Aim("reopening", figures["reopen_s"], 1, "s"),
    )
    return Trial("latency", aims, {"shape": list(shape), "stores": rows, "main_thread": main_thread, **figures})


def sphere(rng: np.random.Generator, base: int, shape: Shape) -> Edit:
    """Return a sphere of tumour or background somewhere within the case."""
    centre = [int(rng.integers(RADIUS, n - RADIUS)) for n in shape]
    z, y, x = ((c - RADIUS, c + RADIUS + 1) for c in centre)
    offsets = np.indices((2 * RADIUS + 1,) * 3) - RADIUS
    return Edit((z, y, x), (offsets**2).sum(axis=0) <= RADIUS**2, int(rng.integers(2)), "brush", base)


def _in_turn(stores: dict[str, Store], place: Path, commits: int, shape: Shape, rng: np.random.Generator) -> Job[list[Figures]]:
    before = {name: kilobytes(place / name) for name in stores}
    seconds: dict[str, list[float]] = {name: [] for name in stores}
    for base in range(commits):
        if base % SLICE == 0:
            yield Progress(base, commits, "Stroke by stroke, store by store")
        edit = sphere(rng, base, shape)
        for name, store in stores.items():
            seconds[name].append(_timed(store.commit, edit))
    rows = []
    for name, store in stores.items():
        figures = _percentiles("commit_", seconds[name]) | {"version_s": _shown(store, commits, rng)}
        store.close()
        growth = (kilobytes(place / name) - before[name]) / commits
        rows.append({"store": name, "commits": commits, **figures, "growth_kb_per_stroke": growth})
    return rows


def _shown(store: Store, last: int, rng: np.random.Generator) -> float | None:
    """Return the median seconds to show an earlier version, or None if there are none."""
    if store.version(0) is None:
        return None
    return float(np.median([_timed(store.version, int(k)) for k in rng.integers(0, last, 5)]))


def _without_pause(session: Session, case_id: str, strokes: int, shape: Shape, rng: np.random.Generator) -> Job[Figures]:
    seconds = []
    for base in range(session.seq(case_id), strokes):
        if base % SLICE == 0:
            yield Progress(base, strokes, "Stroke by stroke, without a pause")
        edit = sphere(rng, base, shape)
        seconds.append(_timed(session.record, case_id, edit))
    return _percentiles("unbroken_", seconds)


def _reopened(folder: Path, case_id: str, rng: np.random.Generator) -> Figures:
    began = time.perf_counter()
    with Session.open(folder) as session:
        session.annotation(case_id)
        reopen = time.perf_counter() - began
        strokes = session.seq(case_id)
        shown = [_timed(session.annotation, case_id, int(k)) for k in rng.integers(0, strokes, VERSIONS)]
    return {
        "strokes": strokes,
        "reopen_s": reopen,
        "slowest_version_s": max(shown),
        "median_version_s": float(np.median(shown)),
        "growth_kb": kilobytes(folder) / strokes,
        "journal_kb": (folder / DATABASE).stat().st_size / 1000 / strokes,
    }


def _percentiles(name: str, seconds: list[float]) -> Figures:
    """Return the median and the 95th percentile in milliseconds, and the slowest."""
    p50, p95, most = (float(n) for n in np.percentile(np.array(seconds or [0.0]) * 1000, [50, 95, 100]))
    return {f"{name}p50_ms": p50, f"{name}p95_ms": p95, f"{name}max_ms": most}


def _timed(task: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    task(*arguments)
    return time.perf_counter() - began
