"""The store: everything that a person works on, in one folder that never loses what it acknowledged."""

from napari_breastseg.session.rows import (
    Change,
    Comparison,
    Edit,
    EditRow,
    EventRow,
    MarkRow,
    ModelRow,
    Moment,
    PredictionRow,
    RoundRow,
    Share,
    Version,
)
from napari_breastseg.session.session import Session
from napari_breastseg.session.split import split

__all__ = [
    "Change",
    "Comparison",
    "Edit",
    "EditRow",
    "EventRow",
    "MarkRow",
    "ModelRow",
    "Moment",
    "PredictionRow",
    "RoundRow",
    "Session",
    "Share",
    "Version",
    "split",
]
