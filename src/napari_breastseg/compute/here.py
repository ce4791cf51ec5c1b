"""Run a long operation in this process: for simulations and tests, which want neither the seconds of a start nor another process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from napari_breastseg.compute.calls import Where, call, for_people
from napari_breastseg.errors import BreastSegError
from napari_breastseg.progress import Job, Progress


def here(target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
    """Run the job ``target(**kwargs)`` in this process; parameters and errors are those of :func:`~napari_breastseg.compute.in_child`."""
    try:
        result = yield from call(target, kwargs)
    except BreastSegError:
        raise
    except Exception as error:
        raise for_people(error, name) from error
    return result


def alone(place: Where) -> Job[None]:
    """Say what :func:`~napari_breastseg.compute.crew` says of a cluster of the one `place`, until closed."""
    while True:
        yield Progress(0, 1, "", {"this computer": place})
        time.sleep(0.2)
