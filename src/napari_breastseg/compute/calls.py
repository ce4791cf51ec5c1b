"""What every place where a job can run has in common: how it is called, and how its failures read."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from napari_breastseg.errors import BreastSegError, ComputeError
from napari_breastseg.progress import Job


class Where(Protocol):
    """A place where a job can run."""

    def __call__(self, target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
        """Run the job ``target(**kwargs)``, see :func:`~napari_breastseg.compute.in_child`."""


class LostError(ComputeError):
    """The place where a job ran, or the way to it, was lost: the same job may succeed elsewhere, or later."""


def call(target: str, kwargs: Mapping[str, Any]) -> Job[Any]:
    """Return the job ``target(**kwargs)``."""
    module, _, function = target.partition(":")
    job: Job[Any] = getattr(importlib.import_module(module), function)(**kwargs)
    return job


def for_people(error: BaseException, name: str) -> BreastSegError:
    """Return an error whose text is meant for people: `error` itself if it is one, else a sentence about it."""
    if isinstance(error, BreastSegError):
        return error
    if isinstance(error, MemoryError):
        return ComputeError(
            "There is not enough memory for this. Close other programs, or choose a smaller patch or fewer cases, and try again."
        )
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ComputeError(f"The {name} process failed: {text}. Nothing was changed; try again, or run with --debug for its log.")
