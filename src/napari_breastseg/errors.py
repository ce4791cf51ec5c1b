"""Errors that are meant for people.

Every message is one clear sentence followed by what to do next. The command line prints it and exits with 1, napari shows it as a
notification; neither shows a traceback.
"""

from __future__ import annotations


class BreastSegError(Exception):
    """Base of all errors whose text is written for the person in front of the screen."""


class InputError(BreastSegError):
    """A file, folder or value given by the person cannot be used."""


class SessionError(BreastSegError):
    """The session on disk cannot be read, written or opened."""


class SessionLockedError(SessionError):
    """Another process holds the session; it can be opened for reading only."""


class StaleEditError(SessionError):
    """The edit was made on an older state of the annotation than the one in the session."""


class ModelError(BreastSegError):
    """Weights are missing, damaged, or belong to another network."""


class ComputeError(BreastSegError):
    """A device ran out of memory, is missing, or gave wrong numbers."""
