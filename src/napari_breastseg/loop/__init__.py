"""The annotation loop: predict, correct, learn, judge, adopt. The one place where store, inference and training meet."""

from __future__ import annotations

from napari_breastseg.loop.annotation_loop import AnnotationLoop, RoundOutcome

__all__ = ["AnnotationLoop", "RoundOutcome"]
