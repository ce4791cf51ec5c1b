"""The annotation loop: predict, correct, learn, judge, adopt. The one place where store, inference and training meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_breastseg.loop.annotation_loop import AnnotationLoop, RoundOutcome

__all__ = ["AnnotationLoop", "RoundOutcome"]


def __getattr__(name: str) -> Any:
    """Import the loop, and torch with it, on first use (PEP 562): recording strokes needs neither."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_breastseg.loop import annotation_loop

    return getattr(annotation_loop, name)
