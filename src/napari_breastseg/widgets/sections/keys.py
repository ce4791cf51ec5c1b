"""Section Keys: which key does what."""

from __future__ import annotations

from html import escape

from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.keys import Keys
from napari_breastseg.widgets.parts.section import Section, button, text


class KeysSection(Section):
    """The list of keys, folded away until it is asked for."""

    def __init__(self, desk: Desk, keys: Keys) -> None:
        super().__init__("Keys", desk)
        self._keys = keys
        self.unfold = button("Show the keys", "Which key does what; they are chosen in Preferences", self._fold, checkable=True)
        self.list = text("")
        self.list.setVisible(False)
        self.column.addWidget(self.unfold)
        self.column.addWidget(self.list)
        keys.changed.connect(self.refresh_safely)
        self.refresh()

    def refresh(self) -> None:
        """List the keys as they are now."""
        lines = "".join(f"<tr><td><b>{escape(key)}</b>&nbsp;&nbsp;</td><td>{escape(what)}</td></tr>" for key, what in self._keys.list())
        self.list.setText(f"<table>{lines}</table><p>Choose others in File \u25b8 Preferences \u25b8 napari-breastseg.</p>")

    def _fold(self) -> None:
        self.list.setVisible(self.unfold.isChecked())
