"""What happened to a case, newest first, with a small picture of each change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QPoint, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QImage, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

from napari_breastseg.session import Moment
from napari_breastseg.widgets.desk.messages import plain
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.thumbnails import SIZE, Rgb
from napari_breastseg.widgets.parts.words import one_line, when

SIGNS = {"mark": "✓", "round": "★", "current-model": "●", "recovered": "!"}
"""What stands in the place of a picture where there is nothing to see."""
_ROWS = 4
_DARK, _LIGHT = QColor("#3b3f45"), QColor("#d0d4d9")
_PAUSE_MS = 100

Key = tuple[object, ...]


class Timeline(QListWidget):
    """A list of moments. Pictures are made one at a time, off the window's thread, and only of the rows that are seen.

    Parameters
    ----------
    reading : Reading
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = reading
        self._draw: Callable[[Moment], Rgb | None] | None = None
        self._pictures: dict[Key, QIcon] = {}
        self._moments: Sequence[Moment] = ()
        self.setToolTip("What happened to this case, the latest first. Click on an entry to choose it, twice to show it.")
        self.setIconSize(QSize(SIZE, SIZE))
        self.setUniformItemSizes(True)
        self.setSpacing(1)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._next_picture)
        reading.ended.connect(self._soon.start)

    @property
    def chosen(self) -> Moment | None:
        """The moment that is chosen."""
        items = self.selectedItems()
        return items[0].data(Qt.ItemDataRole.UserRole) if items else None

    def forget(self, draw: Callable[[Moment], Rgb | None] | None) -> None:
        """Empty the list for another case, whose pictures `draw` makes."""
        self._draw = draw
        self._pictures.clear()
        self.show_moments(())

    def show_moments(self, moments: Sequence[Moment]) -> None:
        """List moments, given oldest first; the one that was chosen stays so, even if it has grown."""
        if moments == self._moments:
            return
        chosen, self._moments = self.chosen, moments
        self.blockSignals(True)
        self.clear()
        for moment in reversed(moments):
            item = QListWidgetItem(self._picture(moment), words(moment))
            item.setToolTip(plain(moment.what))
            item.setData(Qt.ItemDataRole.UserRole, moment)
            self.addItem(item)
            if chosen is not None and (moment.kind, moment.time) == (chosen.kind, chosen.time):
                self.setCurrentItem(item)
        self.blockSignals(False)
        self.setFixedHeight(min(len(moments), _ROWS) * (SIZE + 6) + 4)

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw, and have the pictures made that are seen to be missing."""
        super().paintEvent(event)
        if not self._soon.isActive():
            self._soon.start()

    def _picture(self, moment: Moment) -> QIcon:
        sign = SIGNS.get(moment.kind)
        return _tile(sign) if sign is not None else self._pictures.get(_key(moment)) or _tile("")

    def _next_picture(self) -> None:
        """Have the first missing picture made, unless something else is being read, which the person waits for."""
        draw, viewport = self._draw, self.viewport()
        if self._reading.busy or draw is None or viewport is None or self.visibleRegion().isEmpty():
            return
        first = max(0, self.indexAt(QPoint(4, 4)).row())
        newest_first = list(reversed(self._moments))
        for moment in newest_first[first : first + _ROWS + 1]:
            key = _key(moment)
            if moment.kind in SIGNS or key in self._pictures:
                continue
            self._reading.ask("picture", lambda: draw(moment), lambda picture: self._keep(key, picture))  # noqa: B023
            return

    def _keep(self, key: Key, picture: Rgb | None) -> None:
        if picture is None:
            icon = _tile("")
        else:
            height, width, _ = picture.shape
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            icon = _icon(QPixmap.fromImage(image))
        self._pictures[key] = icon
        for line, moment in enumerate(reversed(self._moments)):
            item = self.item(line)
            if item is not None and _key(moment) == key:
                item.setIcon(icon)


def words(moment: Moment) -> str:
    """Return the two lines of an entry."""
    size = f" · {moment.voxels:,} voxels" if moment.kind == "edits" else ""
    return f"{one_line(moment.what)}\n{when(moment.time, moment.until)}{size}"


def _key(moment: Moment) -> Key:
    return moment.kind, moment.before, moment.version


def _tile(sign: str) -> QIcon:
    pixmap = QPixmap(SIZE, SIZE)
    pixmap.fill(_DARK)
    if sign:
        painter = QPainter(pixmap)
        font = painter.font()
        font.setPixelSize(SIZE // 2)
        painter.setFont(font)
        painter.setPen(_LIGHT)
        painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, sign)
        painter.end()
    return _icon(pixmap)


def _icon(pixmap: QPixmap) -> QIcon:
    """Return an icon that keeps its colours where its row is chosen."""
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
