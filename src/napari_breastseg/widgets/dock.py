"""The dock "Breast segmentation": Case, Predict, Explain, Correct, Learn, Versions, in the order of the work."""

from __future__ import annotations

import napari
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFrame,
    QMainWindow,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.sections.case import CaseSection
from napari_breastseg.widgets.sections.correct import CorrectSection
from napari_breastseg.widgets.sections.explain import ExplainSection
from napari_breastseg.widgets.sections.learn import LearnSection
from napari_breastseg.widgets.sections.predict import PredictSection
from napari_breastseg.widgets.sections.versions import VersionsSection


class BreastSegWidget(QWidget):
    """The whole work on an examination, top to bottom.

    Closing the dock or the window saves what waits, stops what runs, gives the keys back and closes the session.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari when the dock is opened from its menus.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._window: QMainWindow | None = None
        self._closing = False
        self.desk = Desk(napari_viewer)
        self.case = CaseSection(self.desk, lambda: self.predict.device.currentText())
        self.predict = PredictSection(self.desk)
        self.explain = ExplainSection(self.desk, self.predict.device.currentText, self.predict.region)
        self.correct = CorrectSection(self.desk)
        self.learn = LearnSection(self.desk, self.predict.device.currentText, self.predict.start)
        self.versions = VersionsSection(self.desk)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(8)
        for section in (self.case, self.predict, self.explain, self.correct, self.learn, self.versions):
            column.addWidget(section)
        column.addStretch(1)
        for kind in (QAbstractSpinBox, QComboBox, QSlider):
            for control in content.findChildren(kind):
                control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                control.installEventFilter(self)
        scroll = self.scroll_area = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(330)
        self.destroyed.connect(self.desk.close)
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.desk.close)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for enough room for the six sections."""
        return QSize(360, 860)

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

    def shut(self) -> None:
        """Leave the viewer and close the session; a second call does nothing."""
        if self.desk.closed:
            return
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self.case.leave()
        self.explain.leave()
        self.correct.leave()
        self.learn.leave()
        self.versions.leave()
        self.desk.close()

    def _watch_window(self) -> None:
        parent = self.parent()
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parent()
        if parent is not None and parent is not self._window:
            self._window = parent
            parent.installEventFilter(self)
