"""The loss while the model learns, as a small curve that is drawn at most ten times a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, QTimer
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_PAUSE_MS = 100
_HEIGHT = 64
_LINE, _EACH = QColor("#56B4E9"), QColor(86, 180, 233, 90)
_OVER = 10
"""The mean is taken over so many of the latest steps."""


class LossCurve(QWidget):
    """Losses from left to right: each step thin, their running mean thick, the latest in figures."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._total = 0
        self.painted = 0
        """How often it has been drawn."""
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("The loss of each step: it should fall. Whether the result is used is not decided by it, but by the figures below.")
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self.update)
        self.clear()

    def clear(self) -> None:
        """Begin anew, and hide until there is something to draw."""
        self.losses.clear()
        self.setVisible(False)

    def add(self, loss: float, total: int) -> None:
        """Go on by one step of so many."""
        if not np.isfinite(loss):
            return
        self.losses.append(loss)
        self._total = total
        if len(self.losses) == 2:
            self.setVisible(True)
        if not self._soon.isActive():
            self._soon.start()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the curve, the latest loss, and a line at the bottom."""
        self.painted += 1
        if len(self.losses) < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        room = QRectF(self.rect()).adjusted(2, 4, -2, -4)
        smooth = smoothed(self.losses)
        low, high = min(self.losses), max(self.losses)
        for values, colour, width in ((self.losses, _EACH, 1.0), (smooth, _LINE, 2.0)):
            painter.setPen(QPen(colour, width))
            painter.drawPolyline(_points(values, room, max(self._total, len(values)), low, high))
        painter.setPen(self.palette().text().color())
        painter.drawText(room, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop, f"loss {smooth[-1]:.3g}")
        painter.setPen(QPen(_EACH, 1.0))
        painter.drawLine(room.bottomLeft(), room.bottomRight())
        painter.end()


def smoothed(values: Sequence[float]) -> list[float]:
    """Return at each step the mean of the latest steps."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - _OVER, 0)
    found: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return found


def _points(values: Sequence[float], room: QRectF, total: int, low: float, high: float) -> QPolygonF:
    x = room.left() + room.width() * np.arange(len(values)) / max(total - 1, 1)
    y = room.bottom() - room.height() * (np.asarray(values) - low) / max(high - low, 1e-12)
    return QPolygonF([QPointF(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
