"""Which versions of which programs are at work: what a prediction, a model and an edit say of how they were made."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("napari-breastseg", "numpy", "torch", "monai", "zarr", "numba", "openvino")


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on, of those that are installed; none is imported for it."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
