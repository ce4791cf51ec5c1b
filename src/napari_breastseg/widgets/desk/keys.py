"""Keys for what is done often: bound to the viewer while the dock is open, and chosen in Preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app_model.types import KeyBinding, KeyCode
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_breastseg.widgets.desk.messages import inform, plain, told
from napari_breastseg.widgets.desk.preferences import preferences

NAPARIS = (("[ ]", "Smaller, larger brush"), ("Ctrl+Z", "Undo"), ("Ctrl+Shift+Z", "Redo"))
"""Keys of the layer Tumour while it is selected, which are not chosen here."""
NO_KEYS = (None, KeyCode.UNKNOWN)


class Keys(QObject):
    """Binds each key to what it does, anew whenever one is changed in Preferences.

    Signals
    -------
    changed
        A key was chosen.

    Parameters
    ----------
    viewer : Viewer
    acts : mapping of str to callable
        What each setting under "keys" in the manifest does.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, acts: Mapping[str, Callable[[], None]]) -> None:
        super().__init__()
        self._viewer = viewer
        self._acts = acts
        self._bound: dict[str, KeyBinding] = {}
        self._chosen = preferences().keys
        self._chosen.events.connect(self._bind)
        self._bind()

    def leave(self) -> None:
        """Give all keys back."""
        self._chosen.events.disconnect(self._bind)
        self._free()

    def list(self) -> list[tuple[str, str]]:
        """Return which key does what, for people."""
        fields = type(self._chosen).model_fields
        return [(str(key), str(fields[name].title)) for name, key in self._bound.items()] + list(NAPARIS)

    def _bind(self, event: object = None) -> None:
        self._free()
        for name, act in self._acts.items():
            words = getattr(self._chosen, name)
            key = KeyBinding.from_str(words)
            if not words:
                continue
            if any(part.key in NO_KEYS for part in key.parts):
                inform(f'Preferences name a key that there is not: "{plain(words)}". Write it like "N", "Shift+N" or "Alt+Right".')
            elif key in self._bound.values():
                inform(f"Preferences give {key} to two actions: only the first has it.")
            else:
                self._viewer.bind_key(key, self._doing(act), overwrite=True)
                self._bound[name] = key
        self.changed.emit()

    def _free(self) -> None:
        for key in self._bound.values():
            self._viewer.bind_key(key, None, overwrite=True)
        self._bound.clear()

    @staticmethod
    def _doing(act: Callable[[], None]) -> Callable[[Viewer], None]:
        safe = told(lambda: act())
        return lambda _: safe()
