"""Where a long operation runs: this process or a child process. Knows nothing of what it runs."""

from __future__ import annotations

from napari_breastseg.compute.child import in_child

__all__ = ["in_child"]
