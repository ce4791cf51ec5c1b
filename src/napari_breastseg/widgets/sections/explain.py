"""Section Explain: why the model says tumour, and what else looks like tumour to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.measure import amount
from napari_breastseg.widgets.desk.core_jobs import explaining
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import told
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.section import JobBar, Section, button
from napari_breastseg.widgets.view.case_view import CaseView
from napari_breastseg.widgets.view.explain_layers import ROLES, explanation_layers, row_colour

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation, HardNegative
    from napari_breastseg.inference.grids import Region

COLUMNS = {
    "#": "The number and colour of the place on the layer Hard negatives, the largest first",
    "Size": "Of the healthy voxels that look most like the tumour",
    "Sim.": "Similarity: the cosine between their features and the tumour's; 1 is the same to the model, 0 and below is not alike at all",
    "Enh.": "Enhancement: how much brighter they get from before to the first image after contrast",
    "Gap": "To the marked tumour, in mm, or in pixels where the scale is unknown; 0 is at its edge",
    "Likely cause": "What it probably is, by its place and its shape",
}


LEGEND = (
    "The lighter the colour, the more alike to the model. White outline: around the tumour. Blue outline: around the places listed. "
    "Click on a row to go there."
)


class ExplainSection(Section):
    """Compare every voxel with the tumour; list what is not marked but looks like it."""

    def __init__(self, desk: Desk, device: Callable[[], str], region: Callable[[], Region]) -> None:
        super().__init__("3 · Explain", desk)
        self._device, self._region = device, region
        self._view: CaseView | None = None
        self._explained: tuple[npt.NDArray[np.uint8], str | None] | None = None
        """The mask that the layers explain, and the model that predicted it."""
        self._cancelled = False
        self._holds = True
        """Whether the tumour was the one that is explained when it was last looked at."""
        self.reading = Reading()
        self.show_why = button("Show why", "Colour what looks like the marked tumour to the model, and list what is not marked", self.start)
        self.bar = JobBar(desk, "explain")
        self.table = _table()
        self.column.addWidget(self.show_why)
        self.column.addWidget(self.bar)
        self.column.addWidget(self.table)
        self.column.addWidget(self.hint)
        go = told(lambda *_: self._go())
        self.table.itemSelectionChanged.connect(lambda: go())
        self.table.cellClicked.connect(lambda *_: go())
        desk.jobs.cancelled.connect(self._on_cancelled)
        desk.saved.connect(self.refresh_safely)
        self.refresh()

    def leave(self) -> None:
        """Look no more."""
        self.reading.close()

    def refresh(self) -> None:
        """Follow the desk to its case, and say whether what is listed still holds.

        For that the whole mask is looked at, off the window's thread: painting should not wait for it.
        """
        self._tell()
        painter, explained = self.desk.painter, self._explained
        if painter is not None and explained is not None:
            mask = painter.layer.data
            self.reading.ask("mask", lambda: np.array_equal(explained[0], mask), self._on_looked)

    def _on_looked(self, holds: bool) -> None:
        self._holds = holds
        self._tell()

    def _tell(self) -> None:
        desk = self.desk
        if desk.view is not self._view:
            self._view, self._cancelled = desk.view, False
            self._forget()
        elif self._explained is not None and self._view is not None and not any(self._view.layer(role) for role in ROLES):
            self._forget()  # the person removed the layers
        marked = desk.painter is not None and desk.painter.voxels > 0
        self.show_why.setEnabled(marked and not desk.jobs.busy)
        self.table.setVisible(self.table.rowCount() > 0)
        if desk.view is None:
            self.say("Choose a case first.")
        elif desk.jobs.kind == "explain":
            self.say("")
        elif self._explained is None:
            press = "Press <b>Show why</b>." if marked else "Nothing to explain yet. Predict first, or paint some tumour."
            self.say("Cancelled." if self._cancelled else press)
        elif desk.model != self._explained[1]:
            self.say("Another model has predicted since. Press <b>Show why</b> again.")
        elif not self._holds:
            self.say("The marked tumour has changed since. Press <b>Show why</b> again.")
        else:
            self.say(LEGEND)

    def start(self) -> None:
        """Compare every voxel with the tumour as it is shown now."""
        desk = self.desk
        session, view, painter, model, device = desk.session, desk.view, desk.painter, desk.model, self._device()
        region = desk.region or self._region()  # where the prediction looked
        if session is None or view is None or painter is None:
            raise InputError("There is no case to explain. Choose one first.")
        mask = painter.layer.data.copy()
        self._cancelled = False
        job = lambda: explaining(session, view.case, mask, model, device, region)  # noqa: E731
        desk.jobs.start("explain", "Comparing with the tumour", job, lambda found: self._done(found, view, mask, model))

    def _forget(self) -> None:
        self._explained = None
        self.table.setRowCount(0)

    def _done(self, explanation: Explanation, view: CaseView, mask: npt.NDArray[np.uint8], model: str | None) -> None:
        if view is not self.desk.view:
            return
        for layer in explanation_layers(explanation, view.case.geometry):
            view.show_result(layer)
        if self.desk.painter is not None:
            self.desk.painter.layer.contour = 1  # so that what lies below it is seen
        self._explained, self._holds = (mask, model), True
        self._fill(explanation.rows, view.case)
        self.refresh()

    def _fill(self, rows: Sequence[HardNegative], case: Case) -> None:
        self.table.clearSelection()
        self.table.setRowCount(len(rows))
        for line, row in enumerate(rows):
            volume = amount(row.voxels, case.geometry, case.flat)
            enhancement = "–" if row.enhancement is None else f"{row.enhancement:.0%}"
            words = (str(row.number), volume, f"{row.similarity:.2f}", enhancement, f"{row.distance_mm:.0f}", row.cause)
            for column, text in enumerate(words):
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, row.centre)
                item.setToolTip(list(COLUMNS.values())[column])
                if column == 0:
                    item.setData(Qt.ItemDataRole.DecorationRole, QColor(row_colour(row.number)))
                self.table.setItem(line, column, item)

    def _go(self) -> None:
        items = self.table.selectedItems()
        if items and self.desk.view is not None:
            self.desk.view.go_to(items[0].data(Qt.ItemDataRole.UserRole))

    def _on_cancelled(self, kind: str) -> None:
        if kind == "explain":
            self._cancelled = True
            self.refresh()


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    for column, (name, tooltip) in enumerate(COLUMNS.items()):
        item = QTableWidgetItem(name)
        item.setToolTip(tooltip)
        table.setHorizontalHeaderItem(column, item)
    table.setToolTip("Healthy places that look most like the tumour. Click on a row to go there.")
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    font = table.font()
    font.setPointSizeF(0.9 * font.pointSizeF())
    table.setFont(font)
    table.setMinimumHeight(190)
    header, numbers = table.horizontalHeader(), table.verticalHeader()
    assert header is not None and numbers is not None
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setStretchLastSection(True)
    numbers.setVisible(False)
    return table
