"""The plot of curves: signal or percent enhancement against the seconds after the injection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import QBuffer, QIODevice, QPointF, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QPainter, QPixmap, QPolygonF, QWheelEvent
from qtpy.QtWidgets import QGraphicsPolygonItem

from napari_breastseg.kinetics import Curve, Timing
from napari_breastseg.kinetics.curves import baseline, percent_enhancement

Unit: TypeAlias = Literal["pe", "signal"]
LABELS: dict[Unit, str] = {"pe": "Percent enhancement (%)", "signal": "Signal (a.u.)"}
SECONDS = "Time after injection (s)"
EARLIEST = -100.0
"""Seconds; a baseline that was taken long before is drawn here, and the axis says when it was, so that the rest has room."""
HEIGHT = 230
PICTURE, LEGEND_HEIGHT = QSize(1000, 600), 36
LEAST_SPAN = 50.0
"""Percent that the axis of PE spans at least, so that noise does not look like uptake."""
Values: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Drawn:
    """A curve as it is drawn: with its SD, or thin and without."""

    curve: Curve
    colour: str
    thin: bool = False


class _Trace:
    """The items of one curve, made once and moved after."""

    def __init__(self, plot: pg.PlotItem) -> None:
        self._band = QGraphicsPolygonItem()
        self.line = pg.PlotDataItem(antialias=True, symbolSize=5)
        self.line.setZValue(2)
        for item in (self._band, self.line):
            plot.addItem(item, ignoreBounds=True)

    def show(self, seconds: Values, mean: Values, sd: Values, drawn: Drawn) -> None:
        colour = QColor(drawn.colour)
        pen = pg.mkPen(colour, width=1.2 if drawn.thin else 2)
        self.line.setData(seconds, mean, pen=pen, symbol=None if drawn.thin else "o", symbolBrush=colour, symbolPen=None)
        colour.setAlpha(45)
        self._band.setPen(pg.mkPen(None))
        self._band.setBrush(colour)
        self._band.setPolygon(QPolygonF() if drawn.thin else _ribbon(seconds, mean - sd, mean + sd))
        self.line.setVisible(True)
        self._band.setVisible(True)

    @property
    def visible(self) -> bool:
        return bool(self.line.isVisible())

    def hide(self) -> None:
        self.line.setVisible(False)
        self._band.setVisible(False)


class CurvePlot(pg.PlotWidget):
    """Draws curves with their SD, the phases of PE and SER, and what still counts as a plateau after the early phase."""

    def __init__(self) -> None:
        super().__init__()
        self.unit: Unit = "pe"
        self.drawn: dict[str, Drawn] = {}
        """What is shown, by name; later ones lie above."""
        self._timing: Timing | None = None
        self._change = 10.0
        self._traces: dict[str, _Trace] = {}
        self._marks: list[pg.InfiniteLine] = []
        self._range: tuple[float, float] | None = None
        self.setFixedHeight(HEIGHT)
        self.setMouseEnabled(False, False)
        self.hideButtons()
        self.setMenuEnabled(False)
        item = self.getPlotItem()
        item.setContentsMargins(0, 4, 8, 0)
        item.disableAutoRange()
        self._plateau = QGraphicsPolygonItem()
        item.addItem(self._plateau, ignoreBounds=True)
        item.setLabel("bottom", SECONDS)
        self.setToolTip(
            "Mean of the 3 x 3 x 3 voxels under the mouse, of the lesion and of pinned places; shaded: one SD of the voxels. "
            "Dotted: the phases of PE and SER. Hatched: what still counts as a plateau."
        )
        self.set_theme("#262930", "#d0d0d0")

    def set_theme(self, background: str, foreground: str) -> None:
        """Draw with napari's colours."""
        self._background = background
        self.setBackground(background)
        self._foreground = QColor(foreground)
        for side in ("left", "bottom"):
            axis = self.getPlotItem().getAxis(side)
            axis.setPen(self._foreground)
            axis.setTextPen(self._foreground)
            axis.enableAutoSIPrefix(False)
        self._plateau.setPen(pg.mkPen(self._faint(90), style=Qt.PenStyle.DashLine))
        self._plateau.setBrush(QBrush(self._faint(60), Qt.BrushStyle.BDiagPattern))
        self._mark()

    def set_timing(self, timing: Timing | None, change: float) -> None:
        """Count the times from an injection; `change` (%) is where a plateau ends."""
        self._timing, self._change = timing, change
        self._mark()
        self.redraw()

    def set_unit(self, unit: Unit) -> None:
        """Show percent enhancement or the signal as it was measured."""
        self.unit = unit
        self.redraw()

    def show_curve(self, name: str, drawn: Drawn | None) -> None:
        """Show a curve under a name, or no more."""
        if drawn is None:
            self.drawn.pop(name, None)
        else:
            self.drawn[name] = drawn
        self.redraw()

    def show_curves(self, prefix: str, curves: Sequence[Drawn]) -> None:
        """Show curves in the place of all whose names begin so."""
        self.drawn = {name: drawn for name, drawn in self.drawn.items() if not name.startswith(prefix)}
        self.drawn |= {f"{prefix}{number}": drawn for number, drawn in enumerate(curves)}
        self.redraw()

    def values(self, curve: Curve) -> tuple[Values, Values]:
        """Return mean and SD of a curve in the unit that is shown; the SD of PE is that of the signal, in % of the baseline."""
        if self._timing is None or self.unit == "signal":
            return curve.mean, curve.sd
        s0 = baseline(curve.mean, self._timing)
        return percent_enhancement(curve.mean, s0), 100 * curve.sd / s0 if s0 > 0 else np.zeros_like(curve.sd)

    def redraw(self) -> None:
        """Draw all curves anew; those of another number of phases are left out."""
        timing = self._timing
        shown = {} if timing is None else {name: d for name, d in self.drawn.items() if len(d.curve.mean) == timing.phases}
        for name in [name for name in self._traces if name not in shown]:
            self._traces[name].hide()
        reach: list[Values] = []
        for name, drawn in shown.items():
            assert timing is not None
            if name not in self._traces:
                self._traces[name] = _Trace(self.getPlotItem())
            mean, sd = self.values(drawn.curve)
            self._traces[name].show(np.maximum(timing.seconds, EARLIEST), mean, sd, drawn)
            reach += [mean] if drawn.thin else [mean - sd, mean + sd]
        self._shade(shown)
        self._fit(reach)

    def picture(self, names: Mapping[str, str]) -> bytes:
        """Return a larger plot of what is shown as a PNG, with a line below that names curves as `names` does."""
        large = CurvePlot()
        large.setFixedSize(PICTURE)
        large.unit, large.drawn = self.unit, self.drawn
        large.set_theme(self._background, self._foreground.name())
        large.set_timing(self._timing, self._change)
        picture = QPixmap(PICTURE + QSize(0, LEGEND_HEIGHT))
        picture.fill(QColor(self._background))
        painter = QPainter(picture)
        painter.drawPixmap(0, 0, large.grab())
        left, line = 60, PICTURE.height() + LEGEND_HEIGHT // 2
        for name in [name for name in self.drawn if name in names]:
            painter.fillRect(left, line - 2, 18, 4, QColor(self.drawn[name].colour))
            painter.setPen(self._foreground)
            painter.drawText(left + 24, line + painter.fontMetrics().ascent() // 2 - 1, names[name])
            left += 48 + painter.fontMetrics().horizontalAdvance(names[name])
        painter.end()
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        picture.save(buffer, "PNG")
        return bytes(buffer.data().data())

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Leave the wheel to the dock, which scrolls."""
        if event is not None:
            event.ignore()

    def _shade(self, shown: dict[str, Drawn]) -> None:
        """Shade what the cursor's curve, or else the lesion's, may change by after the early phase and be a plateau."""
        timing, drawn = self._timing, shown.get("cursor") or shown.get("lesion")
        self._plateau.setVisible(drawn is not None)
        if timing is None or drawn is None or not timing.delayed:
            self._plateau.setPolygon(QPolygonF())
            return
        mean, s0 = drawn.curve.mean, baseline(drawn.curve.mean, timing)
        early = mean[timing.early]
        edge = np.array([[early] * 2, [early, early * (1 - self._change / 100)], [early, early * (1 + self._change / 100)]])
        if self.unit == "pe":
            edge = percent_enhancement(edge, s0)
        times = np.array([timing.seconds[timing.early], timing.seconds[timing.last]])
        self._plateau.setPolygon(_ribbon(times, edge[1], edge[2]))

    def _fit(self, reach: list[Values]) -> None:
        """Set the axes in round steps, so that they rest while the curve moves."""
        self.getPlotItem().setLabel("left", LABELS[self.unit])
        if self._timing is None:
            return
        low, high = (min(map(np.min, reach)), max(map(np.max, reach))) if reach else (0.0, 0.0)
        span = max(high - min(low, 0.0), LEAST_SPAN if self.unit == "pe" else 1e-6)
        step = 10 ** np.floor(np.log10(span)) / 2
        bottom = np.floor(min(low, 0.0) / step) * step
        top = max(np.ceil(high / step) * step, bottom + span)
        if self._range != (bottom, top):
            self._range = (bottom, top)
            self.setYRange(bottom, top, padding=0.03)

    def _faint(self, opacity: int) -> QColor:
        colour = QColor(self._foreground)
        colour.setAlpha(opacity)
        return colour

    def _mark(self) -> None:
        """Mark the phases of PE and SER."""
        item, timing = self.getPlotItem(), self._timing
        for mark in self._marks:
            item.removeItem(mark)
        self._marks.clear()
        if timing is None:
            return
        first, last = max(timing.seconds[0], EARLIEST), timing.seconds[-1]
        self.setXRange(min(first, 0.0), last, padding=0.04)
        long_before = f", baseline \N{MINUS SIGN}{-timing.seconds[0] / 60:.0f} min" if timing.seconds[0] < EARLIEST else ""
        item.setLabel("bottom", f"{SECONDS}{long_before}")
        places = {timing.pe: "PE", **({timing.ser_late: "SER"} if timing.delayed else {})}
        pen = pg.mkPen(self._faint(120), style=Qt.PenStyle.DotLine)
        for phase, name in places.items():
            options = {"position": 0.06, "color": self._foreground, "movable": False}
            mark = pg.InfiniteLine(timing.seconds[phase], angle=90, pen=pen, label=name, labelOpts=options)
            item.addItem(mark, ignoreBounds=True)
            self._marks.append(mark)


def _ribbon(x: Values, low: Values, high: Values) -> QPolygonF:
    """Return the area between two lines."""
    points = [*zip(x, low, strict=True), *zip(x[::-1], high[::-1], strict=True)]
    return QPolygonF([QPointF(float(a), float(b)) for a, b in points])
