"""What the person is told: one sentence, never a traceback."""

from __future__ import annotations

import logging
import platform
import traceback
from collections.abc import Callable
from functools import partial, wraps
from importlib.metadata import version
from typing import Any

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager, show_error, show_info
from qtpy.QtWidgets import QApplication

from napari_breastseg.errors import BreastSegError

_LOG = logging.getLogger("napari_breastseg")

__all__ = ["inform", "plain", "report_of", "tell", "told"]


def inform(sentence: str) -> None:
    """Show a notice that needs no action."""
    show_info(plain(sentence))


def tell(error: BaseException) -> None:
    """Show an error as a notification: its own sentence if it was written for people, else one sentence and a report to copy."""
    if isinstance(error, BreastSegError):
        show_error(plain(str(error)))
        return
    report = report_of(error)
    _LOG.error("%s", report)
    sentence = (
        f"Something unexpected happened ({type(error).__name__}). What was saved is safe. "
        "Try again; if it comes back, copy the report and send it to the developers."
    )
    copy = ("Copy report", partial(_copy, report))
    notification_manager.dispatch(Notification(sentence, NotificationSeverity.ERROR, actions=(copy,)))


def plain(words: str) -> str:
    """Return words from a session or a file so that no label or tooltip takes them for formatted text."""
    return words.replace("<", "‹").replace(">", "›")


def report_of(error: BaseException) -> str:
    """Describe an unexpected error for the developers: versions and the traceback, no image data."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("napari-breastseg", "napari", "numpy", "torch"))
    return f"{packages}, Python {platform.python_version()}, {platform.platform()}\n" + "".join(traceback.format_exception(error))


def told(action: Callable[..., None]) -> Callable[..., None]:
    """Wrap what a button does, so that an error reaches the person as a sentence instead of ending the program."""

    @wraps(action)
    def wrapped(*args: Any) -> None:
        try:
            action(*args)
        except Exception as error:
            tell(error)

    return wrapped


def _copy(report: str, *_: object) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(report)
