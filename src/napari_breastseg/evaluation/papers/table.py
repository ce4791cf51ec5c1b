"""What a paper's table asks for: its rows, each with what is trained, and its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from napari_breastseg.errors import InputError
from napari_breastseg.losses.frloss import Term
from napari_breastseg.methods.preset import Loss, Preset
from napari_breastseg.networks.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    key : str
        Short name, for folders.
    label : str
    preset : Preset or None
        What is trained; None if it cannot be built here.
    marks : tuple of str
        The columns of the table that say yes.
    terms : tuple of str
        Terms of FRLoss; none of them for the preset's own loss alone.
    missing : str
        Why it cannot be built here.
    figures : mapping of str to float
        What the paper publishes: parameters_millions, gflops, and metrics from 0 to 1 or in mm.
    """

    key: str
    label: str
    preset: Preset | None
    marks: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    missing: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper.

    Attributes
    ----------
    method : str
    number : int
    title : str
    of : str
        What its rows are: "Network", "Variant".
    marks : sequence of str
        Columns that say yes or no.
    metrics : sequence of str
        Names of :data:`~napari_breastseg.evaluation.metrics.METRICS`.
    rows : callable
    settings : str
        How the paper trained, for people.
    reference : str
        Key of the row that the others are compared with, patient by patient; none if empty.
    """

    method: str
    number: int
    title: str
    of: str
    marks: Sequence[str]
    metrics: Sequence[str]
    rows: Callable[[], list[Row]]
    settings: str
    reference: str = ""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.method}-table-{self.number}"

    def with_windows(self, patch: int) -> list[Row]:
        """Return the rows, whose networks all see windows of `patch` voxels, or images of so many pixels, in training and after it."""
        return [replace(row, preset=row.preset and _seeing(row.preset, patch)) for row in self.rows()]


def _seeing(preset: Preset, patch: int) -> Preset:
    edges = (1 if preset.flat else patch, patch, patch)
    return replace(preset, patch=edges, window=None, side=preset.side and patch)


def peer(preset: Preset, name: str, network: Callable[[], SegmentationNetwork], loss: Loss) -> Preset:
    """Return another network in place of a preset's own, with the same inputs and nothing of the paper's."""
    return replace(
        preset, name=f"peer/{name}", network=network, about=name, figures={}, loss=loss, macs=None, parts=None,
        encoder="", encoder_names=None,
    )  # fmt: skip


def find_table(tables: Sequence[PaperTable], method: str, number: int) -> PaperTable:
    """Return a method's table.

    Raises
    ------
    InputError
        If there is none.
    """
    methods = list(dict.fromkeys(table.method for table in tables))
    if method not in methods:
        raise InputError(f"There are no tables of {method!r} here. Choose {' or '.join(methods)}.")
    numbers = [table.number for table in tables if table.method == method]
    if number not in numbers:
        raise InputError(f"Table {number} of {method} is not here. Choose one of: {', '.join(map(str, numbers))}.")
    return next(table for table in tables if (table.method, table.number) == (method, number))
