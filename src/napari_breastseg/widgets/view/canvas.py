"""The canvas of a napari window, kept from a crash of napari 0.9 as long as the window lives."""

from __future__ import annotations

from napari import Viewer
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QMainWindow, QOpenGLWidget  # type: ignore[attr-defined]  # qtpy has it for each binding


class CanvasKeeper(QObject):
    """Makes the canvas's OpenGL context current before a layer goes, whoever removes it.

    napari deletes a layer's OpenGL objects in whatever context is current. If that is one of Qt's, Mesa ends in a segmentation fault when
    the canvas is resized next.
    """

    def __init__(self, viewer: Viewer, window: QMainWindow) -> None:
        super().__init__(window)
        viewer.layers.events.removing.connect(self.make_current)

    def make_current(self) -> None:
        """Make the context of the window's canvas current."""
        window = self.parent()
        centre = window.centralWidget() if isinstance(window, QMainWindow) else None
        for canvas in () if centre is None else centre.findChildren(QOpenGLWidget):
            canvas.makeCurrent()


def keep_canvas(viewer: Viewer, window: QMainWindow) -> None:
    """Watch over the window's canvas, once, also when whoever asked for it has been closed."""
    if window.findChild(CanvasKeeper) is None:
        CanvasKeeper(viewer, window)
