"""The near end of a job on a Dask cluster: sends the files, begins the job, asks for news, and brings back what the job writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_breastseg.compute.calls import LostError
from napari_breastseg.compute.child import HEARTBEAT
from napari_breastseg.compute.paths import Crossing, Luggage, Stamp, inward, local, luggage, outward, translated
from napari_breastseg.errors import BreastSegError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.progress import Job, Progress

if TYPE_CHECKING:
    from distributed import Future

    from napari_breastseg.compute.desk import Done, News

POLL = 0.1
"""Seconds between two questions for news."""
NOTICE = 2.0
"""Seconds in which the scheduler notices that a worker is gone."""
CHUNK = 4 << 20
"""Bytes of a file that cross at a time: little enough to be cancelled in between."""


class Conversation:
    """One job with a desk.

    Parameters
    ----------
    held : distributed.Future
        Of a :class:`~napari_breastseg.compute.desk.Desk`, which lives as long as this is held.
    name : str
        What the job does, for messages.
    """

    def __init__(self, held: Future[Any], name: str) -> None:
        self._held = held
        self._name = name
        self._desk = held.result()
        self._known: dict[str, Stamp] = {}
        self._brought: set[str] = set()
        self._last = Progress(0, 1, "")

    def hold(self, target: str, kwargs: Mapping[str, Any]) -> Job[Any]:
        """Run the job and return its result, with the paths in it as they are here.

        Raises
        ------
        BreastSegError
            As raised there, or if the worker is lost.
        Exception
            If the connection breaks.
        """
        bags = luggage(kwargs)
        yield from self._send(bags)
        crossing = translated(dict(kwargs), outward(bags.folders))
        self._known = self._ask("begin", target, crossing, self._name, len(bags.folders), bags.works)
        self._last = Progress(0, 1, f"the {self._name} process is starting")
        while True:
            news: News = self._ask("news")
            yield from self._bring(news.files, bags)  # first: who hears of a file finds it
            for progress in news.progress:
                self._last = Progress(progress.step, progress.total, progress.message)
                yield progress
            if news.done is not None:
                self._tidy(news.files, bags)
                return translated(_result(news.done), inward(bags.folders))
            time.sleep(POLL)
            yield self._last

    def _ask(self, method: str, *args: object) -> Any:
        try:
            answer = getattr(self._desk, method)(*args)
            while True:
                try:
                    return answer.result(timeout=HEARTBEAT)
                except TimeoutError:
                    if self._held.status != "finished":
                        raise
        except BreastSegError:
            raise
        except Exception as error:
            if self._is_lost():
                raise LostError(
                    f"The worker of the {self._name} process was lost, most likely for lack of memory; nothing was changed. "
                    "Look at its log, give it more memory or choose fewer cases, and try again."
                ) from error
            raise

    def _is_lost(self) -> bool:
        """Tell whether it is the worker that was lost; the scheduler may notice a moment after this process."""
        end = time.monotonic() + NOTICE
        while self._held.status == "finished" and time.monotonic() < end:
            time.sleep(POLL)
        return bool(self._held.status == "error")

    def _send(self, bags: Luggage) -> Job[None]:
        name = outward(bags.folders)
        total, sent = sum(_chunks(path.stat().st_size) for path in bags.files), 0
        for path in bags.files:
            with path.open("rb") as file:
                for _ in range(_chunks(path.stat().st_size)):
                    yield Progress(sent, total, "sending the files")
                    self._ask("lay", str(name(path)), file.read(CHUNK))
                    sent += 1

    def _bring(self, files: Mapping[str, Stamp], bags: Luggage) -> Job[None]:
        """Write what has changed there since it was sent or last brought."""
        for name, stamp in files.items():
            if self._known.get(name) == stamp:
                continue
            content = bytearray()
            for _ in range(_chunks(stamp[1])):
                part = self._ask("take", name, len(content), CHUNK, stamp)
                yield self._last  # before writing: who has cancelled gets no more files
                if part is None:
                    break
                content += part
            else:
                path = local(Crossing(name), bags.folders)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, bytes(content))
                self._known[name] = stamp
                self._brought.add(name)

    def _tidy(self, files: Mapping[str, Stamp], bags: Luggage) -> None:
        """Remove what was brought and has been removed there since."""
        for name in self._brought - files.keys():
            local(Crossing(name), bags.folders).unlink(missing_ok=True)


def _chunks(size: int) -> int:
    return max(1, -(-size // CHUNK))


def _result(done: Done) -> Any:
    if done.error is None:
        return done.result
    error_type, text = done.error
    error: BreastSegError = error_type(text)
    if done.log:
        error.add_note(f"Log of the worker:\n{done.log}")
    raise error
