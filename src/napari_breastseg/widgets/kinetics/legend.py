"""What the colours of an overlay stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_breastseg.widgets.parts.section import text

STOPS = 24


class _Gradient(QWidget):
    """A bar of colours between two values."""

    def __init__(self) -> None:
        super().__init__()
        self._colours: list[QColor] = []
        self._ends = ("", "")
        self.setFixedHeight(30)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_colours(self, colours: Any, ends: tuple[str, str]) -> None:
        self._colours = [QColor.fromRgbF(*map(float, colour)) for colour in colours.map(np.linspace(0, 1, STOPS))]
        self._ends = ends
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        painter = QPainter(self)
        bar = QRectF(0, 0, self.width(), 12)
        gradient = QLinearGradient(bar.topLeft(), bar.topRight())
        for place, colour in enumerate(self._colours):
            gradient.setColorAt(place / (STOPS - 1), colour)
        painter.fillRect(bar, gradient)
        painter.setPen(self.palette().text().color())
        below = QRectF(0, 14, self.width(), 16)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, self._ends[0])
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, self._ends[1])
        painter.end()


class Legend(QWidget):
    """Either a bar of colours or a list of coloured words; hidden without either."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("What the colours stand for")
        self._gradient, self.words = _Gradient(), text("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 2)
        column.addWidget(self._gradient)
        column.addWidget(self.words)
        self.show_nothing()

    def show_nothing(self) -> None:
        """Hide."""
        self.setVisible(False)

    def show_range(self, colours: Any, limits: tuple[float, float], unit: str) -> None:
        """Show colours that run between two values."""
        low = f"≤ −{-limits[0]:.0f} {unit}" if limits[0] < 0 else f"{limits[0]:.0f} {unit}"
        self._gradient.show_colours(colours, (low, f"≥ {limits[1]:.0f} {unit}"))
        self._show(True)

    def show_words(self, words: Sequence[tuple[str, str]]) -> None:
        """Show words, each after its colour."""
        spots = (f'<span style="white-space: nowrap"><span style="color: {colour}">■</span>&nbsp;{word}</span>' for colour, word in words)
        self.words.setText(" &nbsp; ".join(spots))
        self._show(False)

    def _show(self, gradient: bool) -> None:
        self._gradient.setVisible(gradient)
        self.words.setVisible(not gradient)
        self.setVisible(True)
