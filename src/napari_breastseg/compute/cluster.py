"""Run a long operation on an ordinary Dask cluster, whose machines need not share a file system with this one.

The job is a Dask actor (:class:`~napari_breastseg.compute.desk.Desk`) that this process asks for news. Files are sent and brought back by
value. What crosses are values made by this package, over Dask's own connection; nothing is ever unpickled from a file.
"""

from __future__ import annotations

import operator
import pkgutil
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from napari_breastseg.compute.calls import LostError, Where, for_people
from napari_breastseg.compute.child import HEARTBEAT
from napari_breastseg.compute.conversation import POLL, Conversation
from napari_breastseg.errors import BreastSegError, ComputeError, InputError
from napari_breastseg.progress import Job, Progress, run

if TYPE_CHECKING:
    from distributed import Client, Future

DESK = "napari_breastseg.compute.desk:Desk"
PACKAGES = ("napari-breastseg", "distributed")
"""What must be the same here and there."""
ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx)://\S+:\d+|inproc://\S+")
CONNECT = 5.0
"""Seconds in which a scheduler must answer."""
WATCH = 0.5
"""Seconds between two looks at the workers of a scheduler."""
LEAVE = 1.8
"""Seconds that a cancelled job keeps its listener waiting; what then is not told yet is told in the background."""


def on_scheduler(address: str) -> Where:
    """Return the place "a worker of the Dask scheduler at `address`".

    A path in the job's arguments that names a file stands for that file, and for its card (``.json``) beside it; one that names a folder
    stands for the folder with all that is in it. What the job writes there comes back as the job goes on. Closing the job stops it at
    its next progress and leaves nothing behind on the cluster; so does the death of this process.

    Parameters
    ----------
    address : str
        ``"tcp://host:8786"``.

    Raises
    ------
    ComputeError
        If `distributed` is not installed. The jobs raise it if no worker will do, or if one is lost, and errors like those of
        :func:`~napari_breastseg.compute.in_child`.
    InputError
        If that is no address; raised by the jobs if no scheduler answers.
    """
    check_address(address)

    def there(target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
        return _in_thread(_remote(address, target, kwargs, name), Progress(0, 1, f"connecting to {address}"))

    return there


def crew(address: str) -> Job[None]:
    """Watch the workers of the Dask scheduler at `address`, until closed.

    The payload of every Progress maps the address of each worker that will do to the place that it is (:class:`Where`), every
    :data:`WATCH` seconds. Those places share one connection, which ends with this job: close their jobs first.

    Raises
    ------
    ComputeError
        If `distributed` is not installed, if no worker has the packages that this process has, or if the scheduler is lost.
    InputError
        If that is no address, or no scheduler answers.
    """
    check_address(address)
    with _connected(address) as client:
        places: dict[str, Where] = {}
        unfit: set[str] = set()
        while True:
            with _over(f"The connection to the Dask scheduler at {address}", "what is done is kept"):
                present = set(client.nthreads())
                places = {worker: place for worker, place in places.items() if worker in present}
                new = present - places.keys() - unfit
                with suppress(ComputeError) if places else nullcontext():
                    places |= {worker: _at(client, address, worker) for worker in _suitable(client, address, new)} if new else {}
                unfit = present - places.keys()
            yield Progress(0, 1, f"watching the workers of {address}", dict(places))
            time.sleep(WATCH)


def _at(client: Client, address: str, worker: str) -> Where:
    def there(target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
        with _current(client):
            return (yield from _on(client, address, [worker], target, kwargs, name))

    return there


def check_address(address: str) -> None:
    """Refuse what is no address of a scheduler, and any if Dask's scheduler is not installed, as :func:`on_scheduler` does."""
    if not ADDRESS.fullmatch(address):  # a mere word would be looked up as the name of a computer, which may take minutes
        raise InputError(f"{address!r} is no address of a Dask scheduler. Give it as tcp://host:8786.")
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ComputeError('Dask\'s scheduler is not installed. Run: pip install "napari-breastseg[cluster]"') from error


def _in_thread(job: Job[Any], last: Progress) -> Job[Any]:
    """Run `job` in a thread, so that no network keeps its listener waiting: the last progress is repeated in the meantime."""
    news: SimpleQueue[Progress | None] = SimpleQueue()
    outcome: futures.Future[Any] = futures.Future()
    stopped = threading.Event()

    def listen(progress: Progress) -> None:
        if stopped.is_set():
            raise InterruptedError
        news.put(progress)

    def work() -> None:
        try:
            outcome.set_result(run(job, listen))
        except BaseException as error:
            outcome.set_exception(error)
        news.put(None)

    thread = threading.Thread(target=work, name="napari-breastseg cluster", daemon=True)
    try:
        yield last
        thread.start()
        while True:
            try:
                progress = news.get(timeout=HEARTBEAT)
            except Empty:
                yield last
                continue
            if progress is None:
                return outcome.result()
            last = Progress(progress.step, progress.total, progress.message)
            yield progress
    finally:
        stopped.set()
        if thread.is_alive():
            thread.join(LEAVE)


def _remote(address: str, target: str, kwargs: Mapping[str, Any], name: str) -> Job[Any]:
    with _connected(address) as client, _current(client):
        with _over(_way(address, name)):
            workers = _suitable(client, address, set(client.nthreads()))
        return (yield from _on(client, address, workers, target, kwargs, name))


def _on(client: Client, address: str, workers: list[str], target: str, kwargs: Mapping[str, Any], name: str) -> Job[Any]:
    with _over(_way(address, name)):
        held = yield from _desk(client, workers, name)
        return (yield from Conversation(held, name).hold(target, kwargs))


@contextmanager
def _over(way: str, so: str = "nothing was changed") -> Iterator[None]:
    """Say in a sentence what goes wrong on the way to a scheduler."""
    try:
        yield
    except BreastSegError:
        raise
    except Exception as error:
        raise LostError(
            f"{way} was lost ({type(error).__name__}); {so}. See whether the scheduler runs and can be reached, then try again."
        ) from error


def _way(address: str, name: str) -> str:
    return f"The connection to the {name} process at {address}"


def _desk(client: Client, workers: list[str], name: str) -> Job[Future[Any]]:
    """Have a desk set up at one of these workers.

    Its class is named, not sent, so that the scheduler, which reads what is sent, need not have this package.
    """
    desk_type = client.submit(pkgutil.resolve_name, DESK, workers=workers, pure=False)
    held = client.submit(operator.call, desk_type, workers=workers, actor=True, pure=False)
    while held.status == "pending":
        yield Progress(0, 1, "waiting for a worker")
        time.sleep(POLL)
        if not client.nthreads().keys() & set(workers):
            raise LostError(f"The worker of the {name} process was lost before it began; nothing was changed. Try again.")
    if held.status == "error":
        raise for_people(held.exception(), name)
    return held


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connect for the time of one job; the process's own Dask client, if it has one, stays what it is."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except Exception as error:
        raise InputError(
            f"No Dask scheduler answers at {address}. Start one with `dask scheduler`, and give its address as tcp://host:8786."
        ) from error
    with client:
        yield client


@contextmanager
def _current(client: Client) -> Iterator[None]:
    """Have actors use this client, in this thread."""
    from distributed.client import _current_client

    # Client.as_current would also have every array of this process computed on the cluster, those that a window draws included.
    token = _current_client.set(client)
    try:
        yield
    finally:
        _current_client.reset(token)


def _suitable(client: Client, address: str, workers: set[str]) -> list[str]:
    """Return those of the workers that have the same packages as this process."""
    if not workers:
        raise ComputeError(f"The Dask scheduler at {address} has no workers. Start one with `dask worker {address}`, then try again.")
    for package in PACKAGES:
        mine = version(package)
        theirs = client.run(version, package, workers=list(workers), on_error="return")
        workers = {worker for worker, found in theirs.items() if found == mine}
        if not workers:
            found = ", ".join(sorted({found if isinstance(found, str) else "none" for found in theirs.values()}))
            raise ComputeError(
                f"No worker of {address} has {package} {mine}, which is what this computer has; there it is: {found}. "
                f'Run pip install "{package}=={mine}" there and start the workers again.'
            )
    return sorted(workers)
