"""Trials that try to break a session's promises: what `napari-breastseg benchmark session` runs, and the tests in smaller numbers."""
