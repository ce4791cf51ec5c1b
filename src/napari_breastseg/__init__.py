"""Breast tumour segmentation that learns from a person's corrections.

The names below are the public Python API. They are loaded on first use, so that ``import napari_breastseg`` costs milliseconds and needs
neither torch nor napari.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_breastseg.evaluation.simulate import simulate
    from napari_breastseg.inference import explain, predict
    from napari_breastseg.io import read_case, read_mask, write_mask
    from napari_breastseg.loop import AnnotationLoop
    from napari_breastseg.methods.model import load_model
    from napari_breastseg.phantom import make_phantom
    from napari_breastseg.session import Session

__version__ = "0.1.0"

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads of torch that wait for each other spin, unless told not to before torch is loaded. Alone that gains nothing; beside anything
    # else that needs the processors, a viewer or a learning round, it multiplies the time by ten (benchmarks/two_processes.py).
    os.environ["GOMP_SPINCOUNT"] = "1000"

__all__ = [
    "AnnotationLoop",
    "Session",
    "__version__",
    "explain",
    "load_model",
    "make_phantom",
    "predict",
    "read_case",
    "read_mask",
    "simulate",
    "write_mask",
]

_HOMES = {
    "AnnotationLoop": "napari_breastseg.loop",
    "Session": "napari_breastseg.session",
    "explain": "napari_breastseg.inference",
    "load_model": "napari_breastseg.methods.model",
    "make_phantom": "napari_breastseg.phantom",
    "predict": "napari_breastseg.inference",
    "read_case": "napari_breastseg.io",
    "read_mask": "napari_breastseg.io",
    "simulate": "napari_breastseg.evaluation.simulate",
    "write_mask": "napari_breastseg.io",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
