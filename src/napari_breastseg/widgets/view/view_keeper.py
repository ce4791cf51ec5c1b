"""Keeps in the session how a case is looked at, once it has rested for a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from qtpy.QtCore import QObject, QTimer

from napari_breastseg.errors import BreastSegError
from napari_breastseg.session import Session
from napari_breastseg.widgets.view.view_state import ViewState

_LOG = logging.getLogger("napari_breastseg")
INTERVAL_MS = 1000


class ViewKeeper(QObject):
    """Looks once a second, which misses nothing and costs less than following every event of the viewer; writes off the main thread.

    Parameters
    ----------
    session : Session
    case_id : str
    look : callable
        Returns how the case is looked at now, None if it cannot be told.
    """

    def __init__(self, session: Session, case_id: str, look: Callable[[], ViewState | None]) -> None:
        super().__init__()
        self._session = session
        self._case_id = case_id
        self._look = look
        self._seen: ViewState | None = None
        self._kept: ViewState | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="breastseg-view")
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_tick)
        self._timer.start(INTERVAL_MS)

    def close(self) -> None:
        """Keep the last view and end."""
        self._timer.stop()
        self._keep(self._look())
        self._thread.shutdown(wait=True)

    def _on_tick(self) -> None:
        seen = self._look()
        if seen == self._seen:
            self._keep(seen)
        self._seen = seen

    def _keep(self, view: ViewState | None) -> None:
        if view is not None and view != self._kept:
            self._kept = view
            self._thread.submit(self._write, view)

    def _write(self, view: ViewState) -> None:
        """Write it; where the disk refuses, the strokes say so, and a view is not worth a second message."""
        try:
            self._session.keep_view(self._case_id, view.stored())
        except BreastSegError as error:
            _LOG.warning("The view of %s was not kept: %s", self._case_id, error)
