"""The store: everything that a person works on, in one folder that never loses what it acknowledged."""

from napari_breastseg.session.rows import Change, Edit, EditRow, EventRow, MarkRow, ModelRow, PredictionRow, RoundRow
from napari_breastseg.session.session import Session
from napari_breastseg.session.split import split

__all__ = ["Change", "Edit", "EditRow", "EventRow", "MarkRow", "ModelRow", "PredictionRow", "RoundRow", "Session", "split"]
