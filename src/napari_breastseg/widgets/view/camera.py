"""Where the viewer looks."""

from __future__ import annotations

from collections.abc import Sequence

from napari.viewer import Viewer


def centre_on(viewer: Viewer, point: Sequence[float]) -> None:
    """Bring a point (z, y, x) of the world to the middle of the canvas; its slice is shown, other sliders stay where they are."""
    dims, camera = viewer.dims, viewer.scene.camera
    lead = dims.ndim - 3
    for axis, place in enumerate(point):
        dims.set_point(lead + axis, place)
    camera.center = (camera.center[0], *(point[dim - lead] for dim in dims.displayed if dim >= lead))[-3:]
