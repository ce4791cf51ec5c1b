"""The version of the case that is chosen: to be shown, compared with the present one, or made current."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import QLabel, QSlider, QSpinBox, QVBoxLayout, QWidget

from napari_breastseg.case import Box
from napari_breastseg.session import Comparison, Session, Version
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.compared import Compared
from napari_breastseg.widgets.parts.history import History
from napari_breastseg.widgets.parts.section import button, row
from napari_breastseg.widgets.view.case_view import CaseView
from napari_breastseg.widgets.view.version_layers import TRAVEL, changes, changes_layer, lay_below, take_away, version_layer

Role: TypeAlias = Literal["version", "changes"]
_PAUSE_MS = 250
"""The slider rests this long before a version is read."""


class Travel(QWidget):
    """A slider over every single edit, and what can be done with the version that it points at.

    What is shown of it, itself or what has changed since, is one layer below the tumour, which follows the slider.

    Parameters
    ----------
    desk : Desk
    reading : Reading
    say : callable
        Tells a sentence.
    said : callable
        Returns the sentence that was told last.
    go_back : callable
        What the button "Go back to this" does.
    """

    def __init__(
        self, desk: Desk, reading: Reading, say: Callable[[str], None], said: Callable[[], str], go_back: Callable[[], None]
    ) -> None:
        super().__init__()
        self._desk = desk
        self._reading = reading
        self._say = say
        self._said = said
        self._history = History()
        self._box: Box | None = None
        self._words = ""
        """What was said last of what is shown."""
        self._same = False
        """Whether the versions that were compared last are the same."""
        self._read_for: tuple[Version, Version] | None = None
        """The version that was read last, and the one that was now then."""
        self.version = Version(0, None)
        self.number = QSpinBox()
        self.number.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.number.setToolTip("How many edits the chosen version has")
        self.total = QLabel()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip("Every edit of the case, from none to the latest")
        self.shown = button("Show", "Show the chosen version", lambda: self._toggle("version"), checkable=True)
        self.compare = button(
            "Compare with now",
            "Colour what has become tumour since, and what is none any more",
            lambda: self._toggle("changes"),
            checkable=True,
        )
        self.back = button("Go back to this", "", go_back)
        self.compared = Compared()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(row("Version", self.number, self.total, self.slider, stretch=3))
        column.addLayout(row(self.shown, self.compare, self.back))
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._read)
        reading.ended.connect(self.enable)
        self.slider.valueChanged.connect(self._on_number)
        self.number.valueChanged.connect(self._on_number)
        self.forget()

    def forget(self) -> None:
        """Begin anew with another case."""
        self._soon.stop()
        self._press(None)
        self._history = History()
        self.choose(Version(0, None), None)

    def leave(self) -> None:
        """Take away what is shown, also before the case is left: its tumour should not be remembered as an outline."""
        self._press(None)
        self._soon.stop()
        if self._desk.view is not None:
            take_away(self._desk.view, *TRAVEL)
        if self._words and self._said() == self._words:
            self._say("")
        self._words = ""

    def follow(self, history: History) -> None:
        """Know what there is; a version that was the present one is so still, and what is shown is shown anew."""
        self.grow(history.now.seq)
        latest, self._history = self.version == self._history.now, history
        if latest:
            self._point_at(history.now)
        self.enable()
        if self._role is not None and self._read_for != (self.version, history.now):
            self._soon.start()

    def grow(self, seq: int) -> None:
        """Let the slider reach an edit that has just been saved, and rest on it if it rested on the one before."""
        latest = self.version == self._history.now
        with QSignalBlocker(self.slider), QSignalBlocker(self.number):
            self.slider.setMaximum(seq)
            self.number.setMaximum(seq)
            self.number.setFixedWidth(self.number.fontMetrics().horizontalAdvance(f"{seq}00") + 16)
        self.total.setText(f"of {seq}")
        if latest:
            now = Version(seq, self.version.prediction)
            self._history = replace(self._history, now=now)
            self._point_at(now)

    def choose(self, version: Version, box: Box | None) -> None:
        """Point at a version; `box` is what to look at in it."""
        self._box = box
        self._point_at(version)
        self.enable()
        if self._role is not None:
            self._soon.start()

    def _point_at(self, version: Version) -> None:
        self.version = version
        with QSignalBlocker(self.slider), QSignalBlocker(self.number):
            self.slider.setValue(version.seq)
            self.number.setValue(version.seq)

    def enable(self) -> None:
        """Enable what can be done now, and notice when the person has removed the layer."""
        view, role = self._desk.view, self._role
        if role is not None and not self._reading.asks(role) and not self._soon.isActive() and (view is None or view.layer(role) is None):
            self.leave()
        for control in (self.slider, self.number):
            control.setEnabled(view is not None and self.slider.maximum() > 0)
        self.shown.setEnabled(view is not None)
        self.compare.setEnabled(view is not None)

    def name(self, version: Version) -> str:
        """Return a version's name; its prediction is part of it where it is not the latest."""
        if version.prediction == self._history.now.prediction:
            return f"version {version.seq}"
        below = "no prediction" if version.prediction is None else f"prediction {version.prediction}"
        return f"version {version.seq} on {below}"

    @property
    def _role(self) -> Role | None:
        if self.shown.isChecked():
            return "version"
        return "changes" if self.compare.isChecked() else None

    def _press(self, role: Role | None) -> None:
        self.shown.setChecked(role == "version")
        self.compare.setChecked(role == "changes")
        self.compared.setVisible(False)

    def _toggle(self, role: Role) -> None:
        """Show the one layer or the other, or take away the one that is shown."""
        wanted = role if (self.shown if role == "version" else self.compare).isChecked() else None
        self.leave()
        self._say("")
        self._press(wanted)
        self._read()

    def _on_number(self, seq: int) -> None:
        self.choose(self._history.version_at(seq), None)

    def _read(self) -> None:
        session, case_id, view, role = self._desk.session, self._desk.case_id, self._desk.view, self._role
        if session is None or case_id is None or view is None or role is None:
            return
        version, now, box, shape = self.version, self._history.now, self._box, view.case.shape
        self._read_for = version, now
        if role == "version":
            self._reading.ask(role, lambda: session.mask(case_id, version), lambda mask: self._on_mask(view, version, mask, box))
        else:
            self._reading.ask(role, lambda: _compared(session, case_id, version, now, shape), lambda found: self._on_compared(view, *found))

    def _on_mask(self, view: CaseView, version: Version, mask: npt.NDArray[np.uint8], box: Box | None) -> None:
        if view is not self._desk.view or self._role != "version":
            return
        name = self.name(version)
        if lay_below(view, version_layer(mask, view.case.geometry, name.capitalize())):
            if box is not None:
                view.bring_into_view(box)
            painter = self._desk.painter
            outline = painter is not None and painter.layer.visible and self._desk.viewer.dims.ndisplay == 2
            self._tell(f"Green is {name}{', the orange outline is now' if outline else ''}. Press Show again to hide it.")

    def _on_compared(self, view: CaseView, compared: Comparison, drawn: npt.NDArray[np.uint8]) -> None:
        if view is not self._desk.view or self._role != "changes":
            return
        name = self.name(compared.first)
        fresh = lay_below(view, changes_layer(drawn, view.case.geometry, f"Changes since {name}"))
        same = compared.box is None
        news, self._same = same != self._same and self._said() in ("", self._words), same
        if compared.box is None:
            self.compared.setVisible(False)
            words = f"The tumour of {name} is the same as now."
            if compared.first == compared.second:
                words += " Choose an earlier entry first."
        else:
            self.compared.fill(compared, view.case.geometry)
            words = f"Compared with {name}. Press the button again to hide the colours."
        if fresh and compared.box is not None:
            view.bring_into_view(compared.box)
        if fresh or news:
            self._tell(words)

    def _tell(self, words: str) -> None:
        self._words = words
        self._say(words)


def _compared(
    session: Session, case_id: str, first: Version, now: Version, shape: tuple[int, int, int]
) -> tuple[Comparison, npt.NDArray[np.uint8]]:
    compared = session.compare(case_id, first, now)
    return compared, changes(compared, shape)
