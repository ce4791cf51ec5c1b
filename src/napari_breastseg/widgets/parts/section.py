"""The parts that every section of the dock is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_breastseg.progress import Progress
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.jobs import JobRunner
from napari_breastseg.widgets.desk.messages import tell, told
from napari_breastseg.widgets.parts.time_left import TimeLeft


class HasJobs(Protocol):
    """Whatever runs jobs: the main dock's desk, or another dock's own."""

    jobs: JobRunner


class Section(QGroupBox):
    """One step of the work: a title, controls, and a line that says how it stands or what to do next."""

    def __init__(self, title: str, desk: Desk) -> None:
        super().__init__(title)
        self.desk = desk
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(8, 6, 8, 8)
        self.column.setSpacing(5)
        self.hint = text("")
        desk.changed.connect(self.refresh_safely)
        desk.jobs.started.connect(self.refresh_safely)
        desk.jobs.ended.connect(self.refresh_safely)

    def refresh(self) -> None:
        """Enable what the present step needs, and say how things stand."""
        raise NotImplementedError

    def refresh_safely(self, *_: object) -> None:
        """Refresh; a session that cannot be read is told of in one sentence."""
        try:
            self.refresh()
        except Exception as error:
            tell(error)

    def say(self, sentence: str) -> None:
        """Set the section's line."""
        self.hint.setText(sentence)
        self.hint.setVisible(bool(sentence))


class JobBar(QWidget):
    """A progress bar with a Cancel button, what is being done and how long it may take, shown while a job of one kind runs."""

    def __init__(self, desk: HasJobs, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self._left = TimeLeft()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setToolTip("How far the work has come")
        self.message = text("")
        self.cancel = button("Cancel", "Stop this. Nothing that is saved is changed.", desk.jobs.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addLayout(row(self.bar, self.cancel, stretch=0))
        column.addWidget(self.message)
        self.setVisible(False)
        desk.jobs.started.connect(self._on_started)
        desk.jobs.drawn.connect(self._on_drawn)
        desk.jobs.ended.connect(self._on_ended)

    def _on_started(self, kind: str) -> None:
        if kind == self._kind:
            self._left = TimeLeft()
            self.bar.setRange(0, 0)
            self.message.setText("Starting ...")
            self.setVisible(True)

    def _on_drawn(self, kind: str, step: Progress) -> None:
        if kind == self._kind:
            self.bar.setRange(0, step.total)
            self.bar.setValue(step.step)
            left = self._left.words(step)
            count = f" ({step.step} of {step.total})" if step.total > 1 else ""
            self.message.setText(f"{step.message}{count}{', ' if left else ''}{left}")

    def _on_ended(self, kind: str) -> None:
        if kind == self._kind:
            self.setVisible(False)


def button(label: str, tooltip: str, action: Callable[..., Any], checkable: bool = False) -> QPushButton:
    """Return a button; an error of its action is told in one sentence."""
    made = QPushButton(label)
    made.setToolTip(tooltip)
    made.setCheckable(checkable)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    safe = told(lambda *_: action())
    made.clicked.connect(lambda *_: safe())
    return made


def text(sentence: str) -> QLabel:
    """Return a line of text that wraps and can be copied."""
    label = QLabel(sentence)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def row(*widgets: QWidget | str, stretch: int | None = None) -> QHBoxLayout:
    """Put widgets side by side; a string becomes a plain label, `stretch` names the widget that takes the room."""
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(5)
    for index, widget in enumerate(widgets):
        line.addWidget(QLabel(widget) if isinstance(widget, str) else widget, 1 if index == stretch else 0)
    return line
