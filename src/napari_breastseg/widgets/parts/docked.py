"""A dock of napari that notices when it is closed, and whose wheel changes nothing in passing."""

from __future__ import annotations

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QFrame, QMainWindow, QScrollArea, QSlider, QVBoxLayout, QWidget

from napari_breastseg.widgets.view.canvas import keep_canvas


class Docked(QWidget):
    """A column of widgets that scrolls. Closing the dock or the window calls :meth:`leave` once."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._window: QMainWindow | None = None
        self._closing = False
        self.closed = False

    def fill(self, *widgets: QWidget) -> None:
        """Put the widgets below each other."""
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(8)
        for widget in widgets:
            column.addWidget(widget)
        column.addStretch(1)
        for kind in (QAbstractSpinBox, QComboBox, QSlider):
            for control in content.findChildren(kind):
                control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                control.installEventFilter(self)
        scroll = self.scroll_area = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        self.setMinimumWidth(330)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.destroyed.connect(lambda *_: self._gone())  # a method of what is destroyed would not be called
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.shut)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for enough room for a column of figures and buttons."""
        return QSize(360, 860)

    def leave(self, window_closes: bool) -> None:
        """Leave the viewer as it was found; if its window closes too, only stop what runs."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Stop what runs: the widgets are destroyed, and nobody called :meth:`leave`."""
        self.leave(window_closes=True)

    def shut(self) -> None:
        """Leave the viewer; a second call does nothing."""
        if self.closed:
            return
        self.closed = True
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self.leave(self._closing)

    def _gone(self) -> None:
        if not self.closed:
            self.closed = True
            self.abandon()

    def event(self, event: QEvent | None) -> bool:
        """Notice when napari's dock takes this widget, and when it lets go of it, which is what its close button does."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                QTimer.singleShot(0, self._watch_window)
            elif self._window is not None:
                self.shut()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Shut when the window closes; a close that the person took back in napari's dialog is none.

        A wheel that scrolls the dock must not change the values that it passes over.
        """
        if event is not None and event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        if event is not None and watched is self._window and self._window is not None:
            if event.type() == QEvent.Type.Close:
                self._closing = True
                if not self._window.isVisible():
                    self.shut()
            elif event.type() == QEvent.Type.Hide and self._closing:
                self.shut()
        return bool(super().eventFilter(watched, event))

    def _watch_window(self) -> None:
        if self.closed:
            return
        parent = self.parent()
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parent()
        if parent is not None and parent is not self._window:
            self._window = parent
            parent.installEventFilter(self)
            keep_canvas(self._viewer, parent)
