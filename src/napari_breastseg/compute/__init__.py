"""Where a long operation runs: this process, a child process, or a Dask cluster. Knows nothing of what it runs."""

from __future__ import annotations

from napari_breastseg.compute.calls import LostError, Where, for_people
from napari_breastseg.compute.child import in_child
from napari_breastseg.compute.cluster import check_address, crew, on_scheduler
from napari_breastseg.compute.here import alone, here

__all__ = ["LostError", "Where", "alone", "check_address", "crew", "for_people", "here", "in_child", "on_scheduler"]
