"""What can be said of the curves, in words and figures beside each other, and the shares of a lesion's curve types."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_breastseg.kinetics import CURVE_COLOURS, CurveSummary, Timing
from napari_breastseg.kinetics.curves import CURVES
from napari_breastseg.widgets.view.layers import TUMOUR_COLOUR

NOTHING = "–"
ROWS = {
    "Curve type": "Course from the early to the last phase: persistent, plateau or wash-out",
    "Initial rise": "Slow, medium or fast, by the enhancement at the early phase",
    "PE": "Percent enhancement, 100 (S - S0) / S0, at the phase nearest to 150 s after the injection",
    "SER": "Signal enhancement ratio, (S at PE's phase - S0) / (S nearest to 450 s - S0)",
    "Wash-in": "Mean slope from the injection to the early phase, % of the baseline per minute",
    "Wash-out": "Slope from the early to the last phase, % of the early signal per minute; negative where the signal falls",
}
GREY = "#777777"


def dot(colour: str, size: int = 11) -> QPixmap:
    """Return a round spot with a light rim; a ring for a colour that is clear."""
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor("#b0b0b0"), 1))
    painter.setBrush(QColor(colour_of(colour)))
    painter.drawEllipse(QRectF(0.5, 0.5, size - 1, size - 1))
    painter.end()
    return pixmap


def icon(colour: str) -> QIcon:
    """Return the spot as an icon."""
    return QIcon(dot(colour))


def colour_of(colour: str) -> QColor:
    """Return a colour as Qt has it: with its opacity last, as layers take it, Qt would read that as its first."""
    made = QColor(colour[:7])
    made.setAlpha(int(colour[7:] or "ff", 16))
    return made


class Spotted(QWidget):
    """A word with a coloured spot before it."""

    def __init__(self, word: str = NOTHING, colour: str | None = None) -> None:
        super().__init__()
        self.spot, self.word = QLabel(), QLabel(word)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(5)
        line.addWidget(self.spot)
        line.addWidget(self.word, 1)
        self.show_word(word, colour)

    def show_word(self, word: str, colour: str | None) -> None:
        """Show a word and the colour of its spot, or no spot."""
        self.word.setText(word)
        self.spot.setVisible(colour is not None)
        if colour is not None:
            self.spot.setPixmap(dot(colour))


class Readout(QWidget):
    """Two columns: the cursor's curve and the lesion's."""

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        self.cells: dict[str, dict[str, QLabel]] = {}
        self._heads: dict[str, Spotted] = {}
        self._types: dict[str, Spotted] = {}
        for column, (name, colour) in enumerate((("Cursor", "#ffffff"), ("Lesion", TUMOUR_COLOUR)), 1):
            head, kind = self._heads[name], self._types[name] = Spotted(name, colour), Spotted()
            head.setToolTip("The 3 x 3 x 3 voxels under the mouse" if column == 1 else "All voxels marked as tumour")
            grid.addWidget(head, 0, column)
            grid.addWidget(kind, 1, column)
            self.cells[name] = {"Curve type": kind.word}
        for line, (name, tooltip) in enumerate(ROWS.items(), 1):
            label = QLabel(name)
            label.setToolTip(tooltip)
            grid.addWidget(label, line, 0)
            for column, whose in enumerate(self.cells, 1):
                if name not in self.cells[whose]:
                    cell = self.cells[whose][name] = QLabel(NOTHING)
                    grid.addWidget(cell, line, column)
                self.cells[whose][name].setToolTip(tooltip)

    def set_cursor_colour(self, colour: str) -> None:
        """Name the cursor's column in the colour of its curve."""
        self._heads["Cursor"].show_word("Cursor", colour)

    def show_summary(self, whose: str, summary: CurveSummary | None, timing: Timing | None) -> None:
        """Show what can be said of a curve, or nothing."""
        words = dict.fromkeys(ROWS, NOTHING) if summary is None or timing is None else figures(summary, timing)
        kind = None if summary is None or summary.type is None else CURVE_COLOURS[summary.type]
        self._types[whose].show_word(words.pop("Curve type"), kind)
        for name, text in words.items():
            self.cells[whose][name].setText(text)


def figures(summary: CurveSummary, timing: Timing) -> dict[str, str]:
    """Return what is written in each of `ROWS`; slopes only where the times are known."""
    slopes = timing.known
    return {
        "Curve type": NOTHING if summary.type is None else CURVES[summary.type],
        "Initial rise": summary.initial,
        "PE": f"{summary.pe:+.0f} %",
        "SER": NOTHING if summary.ser is None else f"{summary.ser:.2f}",
        "Wash-in": f"{summary.wash_in:+.0f} %/min" if slopes else NOTHING,
        "Wash-out": f"{summary.wash_out:+.1f} %/min" if slopes and summary.wash_out is not None else NOTHING,
    }


class SharesBar(QWidget):
    """How much of a lesion has which curve type, as one bar."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: tuple[float, ...] = ()
        self.setFixedHeight(20)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.show_shares(())

    def show_shares(self, shares: Sequence[float]) -> None:
        """Show the % of each of the curve types; nothing if there are none."""
        self.shares = tuple(shares)
        self.setVisible(bool(self.shares))
        self.setToolTip(f"Share of the lesion's voxels by curve type: {shares_in_words(self.shares)}")
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the parts, the most suspicious first, each with its % where it fits."""
        painter = QPainter(self)
        left = 0.0
        for kind, share in sorted(enumerate(self.shares), reverse=True):
            width = self.width() * share / 100
            place = QRectF(left, 0, width, self.height())
            clear = colour_of(CURVE_COLOURS[kind]).alpha() == 0
            painter.fillRect(place, QColor(GREY) if clear else colour_of(CURVE_COLOURS[kind]))
            if width > painter.fontMetrics().horizontalAdvance(" 100 % "):
                painter.setPen(QColor("black" if CURVES[kind] == "plateau" else "white"))
                painter.drawText(place, Qt.AlignmentFlag.AlignCenter, f"{share:.0f} %")
            left += width
        painter.end()


def shares_in_words(shares: Sequence[float]) -> str:
    """Return the shares, the most suspicious first."""
    return ", ".join(f"{share:.0f} % {CURVES[kind]}" for kind, share in sorted(enumerate(shares), reverse=True))
