"""Predict a cohort: what was done before is kept, the rest is served, and every case has its row in the end, failed or not."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_breastseg.cohort.job import Finished, Order
from napari_breastseg.cohort.lanes import CLUSTER, LOCAL, serve
from napari_breastseg.cohort.results import Results
from napari_breastseg.compute import alone, check_address, crew, in_child
from napari_breastseg.errors import InputError
from napari_breastseg.inference.grids import Region
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.methods.model import Model
from napari_breastseg.progress import Job, Progress

SUMMARY = "summary.csv"
FIGURES = (
    "tumour_ml", "tumour_mm2", "tumour_voxels", "parts", "largest_ml", "largest_mm2", "largest_voxels", "longest", "unit", "seconds",
)  # fmt: skip
COLUMNS = ("case", "status", *FIGURES, "device", "engine", "error")


@dataclass(frozen=True)
class Row:
    """What became of one case.

    Attributes
    ----------
    case : str
    status : str
        "done", "failed", or "waiting" if the run ended before its turn came.
    record : mapping
        What its record says; empty if it is not done.
    error : str
        Why it failed, a sentence for people.
    """

    case: str
    status: Literal["done", "failed", "waiting"] = "waiting"
    record: Mapping[str, Any] | None = None
    error: str = ""

    def facts(self) -> dict[str, Any]:
        """Return one value for each of ``COLUMNS``, JSON-ready; None where there is none."""
        record = self.record or {}
        details = record.get("prediction", {})
        return {
            "case": self.case,
            "status": self.status,
            **{figure: record.get(figure) for figure in FIGURES},
            **{detail: details.get(detail) for detail in ("device", "engine")},
            "error": self.error or None,
        }


@dataclass(frozen=True)
class Cohort:
    """What became of a cohort.

    Attributes
    ----------
    rows : list of Row
        One per case, in the order in which they were given.
    skipped : int
        Cases that an earlier run had done already.
    seconds : float
        Of this run.
    """

    rows: list[Row]
    skipped: int
    seconds: float

    @property
    def done(self) -> int:
        """Cases that this run has done."""
        return sum(row.status == "done" for row in self.rows) - self.skipped

    @property
    def failures(self) -> list[Row]:
        """The cases that failed."""
        return [row for row in self.rows if row.status == "failed"]


def predict_cohort(
    cases: Sequence[ListedCase], model: Model, out: Path, *, device: str = "auto", probability: bool = False, scheduler: str | None = None,
    region: Region = "breast", mirror: bool = False,
) -> Job[Cohort]:  # fmt: skip
    """Predict many cases; one that fails stops no other.

    A case is skipped if an earlier run has done it from the same files with the same model and options, and its mask is as it was.
    However this ends, what is done is in `out`, and so is ``summary.csv``, a row per case.

    Parameters
    ----------
    cases : sequence of ListedCase
    model : Model
    out : Path
        Folder for ``<name>.nii.gz``, ``<name>.json`` (how it was predicted), ``probability/<name>.nii.gz`` and, of mirror images,
        ``uncertainty/<name>.nii.gz``; made if there is none.
    device : str
        "auto", "cpu", "cuda" or "mps": on a cluster, the worker's.
    probability : bool
        Write the probability of tumour, too.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers predict a case each; without it a child process does.
    region, mirror
        As in :func:`napari_breastseg.inference.predict`.

    Raises
    ------
    InputError
        If `out` is a file, another run is writing to it, or no scheduler answers.
    ComputeError
        If the scheduler is lost, or all of its workers are and none comes back.
    """
    started = time.monotonic()
    if scheduler is not None:
        check_address(scheduler)
    with Results(out) as results:
        ledger = _Ledger(cases, results)
        try:
            way = {"region": region, "mirror": mirror}
            orders = yield from ledger.open({"model": model.sha, "threshold": model.card.get("threshold"), **way}, probability)
            arguments = {"model": model.path, "device": device, "probability": probability, **way}
            lanes = (alone(in_child), LOCAL) if scheduler is None else (crew(scheduler), CLUSTER)
            if orders:
                yield from ledger.follow(serve(orders, arguments, *lanes))
        finally:
            ledger.close()
            write_atomically(out / SUMMARY, _table(ledger.rows.values()))
    return Cohort(list(ledger.rows.values()), ledger.skipped, round(time.monotonic() - started, 2))


class _Ledger:
    """The rows of a cohort, filled in as it goes on."""

    def __init__(self, cases: Sequence[ListedCase], results: Results) -> None:
        self._cases = cases
        self._results = results
        self.rows = {case.name: Row(case.name) for case in cases}
        self.skipped = 0

    def open(self, options: Mapping[str, Any], probability: bool) -> Job[list[Order]]:
        """Fill in what is done already with these options; return orders for the rest."""
        orders: list[Order] = []
        for number, case in enumerate(self._cases):
            yield Progress(number, len(self._cases), "Looking what is done")
            try:
                times = case.times()
                asked = {**options, "times": list(times), "files": case.fingerprint()}
                record = self._results.kept(case.name, asked, probability)
            except InputError as error:
                self._failed(case.name, str(error))
                continue
            if record is None:
                orders.append(Order(case, times, asked, self._results.place(case.name), str(case.files[0].parent)))
            else:
                self.rows[case.name] = Row(case.name, "done", record)
                self.skipped += 1
        return orders

    def follow(self, job: Job[None]) -> Job[None]:
        """Retell a job that serves orders, and fill in every case that it finishes."""
        started, before, total = time.monotonic(), self._finished(), len(self.rows)
        expected = ""
        try:
            for step in job:
                if isinstance(step.payload, Finished):
                    self._fill_in(step.payload)
                    done = self._finished()
                    expected = f"; {_roughly((time.monotonic() - started) / (done - before) * (total - done))} left"
                yield Progress(self._finished(), total, step.message + expected)
        finally:
            job.close()

    def close(self) -> None:
        """Fill in what was finished, but not heard of any more."""
        for row in self.rows.values():
            if row.status == "waiting":
                self._settle(row.case)

    def _fill_in(self, finished: Finished) -> None:
        name = finished.name
        if finished.error is not None:
            self._failed(name, finished.error)
        elif not self._settle(name):
            self._failed(name, f"The mask of {name} did not arrive whole. Run the command again.")

    def _settle(self, name: str) -> bool:
        """Take a case that was predicted into the results, or say why it cannot be; False if it is not whole."""
        try:
            record = self._results.settle(name)
        except InputError as error:
            self._failed(name, str(error))
            return True
        if record is not None:
            self.rows[name] = Row(name, "done", record)
        return record is not None

    def _failed(self, name: str, error: str) -> None:
        self.rows[name] = Row(name, "failed", error=error)

    def _finished(self) -> int:
        return sum(row.status != "waiting" for row in self.rows.values())


def _roughly(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _table(rows: Iterable[Row]) -> bytes:
    """Return the rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.facts() for row in rows)
    return text.getvalue().encode()
