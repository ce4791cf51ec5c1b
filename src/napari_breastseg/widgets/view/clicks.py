"""Clicks on the canvas for a tool that was chosen; a drag is none and moves the image as ever."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.viewer import Viewer

STILL = 4.0
"""Pixels that the mouse may move in a click."""

Act = Callable[[tuple[float, ...]], None]


class Clicks:
    """Hands each click's place in the viewer's world to whoever asked for clicks last."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._act: Act | None = None

    def ask(self, act: Act | None) -> None:
        """Call `act` with every click from now on; with None, nobody any more."""
        callbacks = self._viewer.mouse_drag_callbacks
        if act is None and self._act is not None:
            callbacks.remove(self._on_press)
        elif act is not None and self._act is None:
            callbacks.append(self._on_press)
        self._act = act

    def _on_press(self, _: object, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or self._viewer.dims.ndisplay != 2:
            return
        start, farthest = np.array(event.pos, float), 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, float(np.linalg.norm(np.array(event.pos, float) - start)))
            yield
        if farthest <= STILL and self._act is not None:
            self._act(tuple(event.position))
