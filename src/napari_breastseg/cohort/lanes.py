"""Orders served by all places that there are, each with one job at a time; places may come and go."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from napari_breastseg.cohort.job import JOB, Finished, Order
from napari_breastseg.compute import Where, for_people
from napari_breastseg.errors import ComputeError
from napari_breastseg.progress import Job, Progress, run

TICK = 0.5
"""Seconds of silence after which the last progress is repeated, so that a listener can cancel at any time."""
PATIENCE = 120.0
"""Seconds that a cohort waits for a worker when there is none: Dask starts a lost one again within some, a cluster takes longer."""
LEAVE = 4.0
"""Seconds that cancelling waits for what runs; a child process that does not listen is killed within them."""

News: TypeAlias = tuple[str, Progress | BaseException | None]
"""Who speaks: a place or ``CREW``; and what: a progress, the error that ended a job, or None at its end."""
CREW = ""


@dataclass(frozen=True)
class Manner:
    """How orders are handed out.

    Attributes
    ----------
    batch : int
        Cases in one job.
    tries : int
        Times that a case is begun when its place is lost each time, before it is given up.
    strikes : float
        Cases in a row that a place may fail by itself before it gets no more: one whose disk is full would else fail them all.
    """

    batch: int
    tries: int
    strikes: float


LOCAL = Manner(batch=20, tries=1, strikes=math.inf)
"""A child process takes seconds to start, so it serves many cases; not all, so that memory that libraries keep is given back now and then.
If it is killed, for lack of memory most likely, that is the failure of the case at work alone, and another child goes on."""
CLUSTER = Manner(batch=1, tries=3, strikes=3)


@dataclass
class _Turn:
    """What one place has to do, and what it says that it is doing."""

    left: dict[str, Order]
    thread: threading.Thread
    message: str = field(default="")


def serve(orders: Sequence[Order], arguments: Mapping[str, Any], crew: Job[None], manner: Manner) -> Job[None]:
    """Serve every order with the job ``predict_cases``; the payload of a Progress is a :class:`Finished` after each case.

    Parameters
    ----------
    orders : sequence of Order
    arguments : mapping
        The other arguments of the job.
    crew : job
        The payload of its Progress is a mapping of names to places, those that there are at the time.
    manner : Manner

    Raises
    ------
    BreastSegError
        As `crew` raises it.
    ComputeError
        If there was no place for :data:`PATIENCE` seconds.
    """
    floor = _Floor(orders, arguments, manner)
    try:
        floor.begin(crew)
        while floor.is_open():
            yield from floor.hear()
    finally:
        floor.close()


class _Floor:
    def __init__(self, orders: Sequence[Order], arguments: Mapping[str, Any], manner: Manner) -> None:
        self._waiting = deque(orders)
        self._arguments = arguments
        self._manner = manner
        self._news: SimpleQueue[News] = SimpleQueue()
        self._stopped = threading.Event()
        self._places: Mapping[str, Where] = {}
        self._turns: dict[str, _Turn] = {}
        self._tries: Counter[str] = Counter()
        self._strikes: Counter[str] = Counter()
        self._last_seen = time.monotonic()
        self._why = ""

    def begin(self, crew: Job[None]) -> None:
        self._crew = self._start(CREW, crew)

    def is_open(self) -> bool:
        return bool(self._waiting or self._turns)

    def close(self) -> None:
        """Stop what runs; the crew last, whose connection the others use."""
        self._stopped.set()
        end = time.monotonic() + LEAVE
        for thread in (*(turn.thread for turn in self._turns.values()), self._crew):
            thread.join(max(0.0, end - time.monotonic()))

    def hear(self) -> Job[None]:
        """Hand out what can be handed out, and tell the next news."""
        self._hand_out()
        try:
            who, said = self._news.get(timeout=TICK)
        except Empty:
            yield self._told()
            return
        if who == CREW:
            if isinstance(said, BaseException):
                raise said
            if said is not None:
                self._places = said.payload
        elif isinstance(said, Progress):
            turn = self._turns[who]
            turn.message = said.message
            if isinstance(said.payload, Finished):
                del turn.left[said.payload.name]
                if said.payload.error is None:
                    self._strikes[who] = 0
            yield self._told(said.payload)
        else:
            yield from self._end(who, said)

    def _hand_out(self) -> None:
        able = [who for who in self._places if self._strikes[who] < self._manner.strikes]
        if able:
            self._last_seen = time.monotonic()
        elif not self._turns and time.monotonic() > self._last_seen + PATIENCE:
            raise ComputeError(self._why or "No worker has come to do this. Start one with `dask worker`, then run the command again.")
        for who in able:
            if self._waiting and who not in self._turns:
                batch = [self._waiting.popleft() for _ in range(min(self._manner.batch, len(self._waiting)))]
                job = self._places[who](JOB, {**self._arguments, "orders": batch}, "prediction")
                self._turns[who] = _Turn({order.case.name: order for order in batch}, self._start(who, job), batch[0].case.name)

    def _end(self, who: str, error: BaseException | None) -> Job[None]:
        """Give back what a place has left undone; the first of it is what it was at."""
        turn = self._turns.pop(who)
        if error is None and not turn.left:
            return
        # It may be gone: wait until the crew tells of it again.
        self._places = {other: place for other, place in self._places.items() if other != who}
        if not turn.left:  # it was lost after its last case was done
            return
        self._strikes[who] += 1
        self._why = str(for_people(error or RuntimeError("it said nothing"), "prediction"))
        name, *_ = turn.left
        self._tries[name] += 1
        if self._tries[name] < self._manner.tries:
            self._waiting.extend(turn.left.values())
            return
        del turn.left[name]
        self._waiting.extend(turn.left.values())
        yield self._told(Finished(name, self._why))

    def _start(self, who: str, job: Job[Any]) -> threading.Thread:
        def tell(progress: Progress) -> None:
            if self._stopped.is_set():
                raise InterruptedError
            self._news.put((who, progress))

        def work() -> None:
            try:
                run(job, tell)
            except BaseException as error:
                self._news.put((who, error))
            else:
                self._news.put((who, None))

        thread = threading.Thread(target=work, name=f"napari-breastseg {who or 'crew'}", daemon=True)
        thread.start()
        return thread

    def _told(self, payload: Any = None) -> Progress:
        words = [turn.message for turn in self._turns.values()]
        if len(words) > 1:
            words = [f"{len(words)} at work"]
        return Progress(0, 1, words[0] if words else "Waiting for a worker", payload)
