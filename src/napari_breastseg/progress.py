"""The one shape of long work: a generator that yields :class:`Progress` and returns its result.

Closing the generator cancels the work. The command line, a notebook, napari and a child process all draw the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a long operation.

    Parameters
    ----------
    step, total : int
        Steps done and steps in all; ``total`` may grow while the work goes on.
    message : str
        What is being done, for people.
    payload : object, optional
        A partial result that a listener may show, such as a preview of a prediction.
    """

    step: int
    total: int
    message: str
    payload: Any = field(default=None, repr=False)


Job: TypeAlias = Generator[Progress, None, T]


def run(job: Job[T], listener: Callable[[Progress], None] | None = None) -> T:
    """Run `job` to its end in this process and return its result.

    Parameters
    ----------
    job : generator of Progress
    listener : callable, optional
        Called with every Progress. If it raises, the job is closed (cancelled) and the exception goes on.
    """
    try:
        while True:
            try:
                progress = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if listener is not None:
                listener(progress)
    finally:
        job.close()


def retold(job: Job[T], tell: Callable[[Progress], Progress]) -> Job[T]:
    """Return `job` with every Progress as `tell` puts it; the part of a larger job that way speaks of the whole."""
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            yield tell(step)
    finally:
        job.close()
