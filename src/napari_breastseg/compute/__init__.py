"""Where a long operation runs: this process, a child process, or a Dask cluster. Knows nothing of what it runs."""

from __future__ import annotations

from napari_breastseg.compute.calls import Where
from napari_breastseg.compute.child import in_child
from napari_breastseg.compute.cluster import on_scheduler
from napari_breastseg.compute.here import here

__all__ = ["Where", "here", "in_child", "on_scheduler"]
