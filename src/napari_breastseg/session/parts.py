"""The tables of an open session, together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from napari_breastseg.session.annotations import Annotations
from napari_breastseg.session.cases import Cases
from napari_breastseg.session.journal import Journal
from napari_breastseg.session.models import Models
from napari_breastseg.session.predictions import Predictions
from napari_breastseg.session.timeline import Timeline


@dataclass(frozen=True)
class Parts:
    """One journal and what reads and writes its tables."""

    root: Path
    journal: Journal
    cases: Cases
    annotations: Annotations
    predictions: Predictions
    models: Models
    timeline: Timeline

    @classmethod
    def open(cls, root: Path, *, read_only: bool) -> Self:
        """Open the journal in `root`."""
        return cls.over(root, Journal(root, read_only=read_only))

    @classmethod
    def over(cls, root: Path, journal: Journal) -> Self:
        """Read and write the tables of a journal that is open."""
        cases = Cases(root, journal)
        annotations = Annotations(root, journal, cases)
        predictions, models = Predictions(root, journal, cases), Models(root, journal)
        return cls(root, journal, cases, annotations, predictions, models, Timeline(journal, cases, annotations, predictions, models))
