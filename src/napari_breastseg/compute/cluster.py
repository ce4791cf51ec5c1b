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
from contextlib import contextmanager
from importlib.metadata import version
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from napari_breastseg.compute.calls import Where, for_people
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
    if not ADDRESS.fullmatch(address):  # a mere word would be looked up as the name of a computer, which may take minutes
        raise InputError(f"{address!r} is no address of a Dask scheduler. Give it as tcp://host:8786.")
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ComputeError('Dask\'s scheduler is not installed. Run: pip install "napari-breastseg[cluster]"') from error

    def there(target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
        return _in_thread(_remote(address, target, kwargs, name), Progress(0, 1, f"connecting to {address}"))

    return there


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
    with _connected(address) as client:
        try:
            held = yield from _desk(client, address, name)
            return (yield from Conversation(held, name).hold(target, kwargs))
        except BreastSegError:
            raise
        except Exception as error:
            raise ComputeError(
                f"The connection to the {name} process at {address} was lost ({type(error).__name__}); nothing was changed. "
                "See whether the scheduler runs and can be reached, then try again."
            ) from error


def _desk(client: Client, address: str, name: str) -> Job[Future[Any]]:
    """Have a desk set up at a suitable worker.

    Its class is named, not sent, so that the scheduler, which reads what is sent, need not have this package.
    """
    workers = _suitable(client, address)
    desk_type = client.submit(pkgutil.resolve_name, DESK, workers=workers, pure=False)
    held = client.submit(operator.call, desk_type, workers=workers, actor=True, pure=False)
    while held.status == "pending":
        yield Progress(0, 1, f"waiting for a worker of {address}")
        time.sleep(POLL)
        if not client.nthreads().keys() & set(workers):
            raise _no_workers(address)
    if held.status == "error":
        raise for_people(held.exception(), name)
    return held


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connect for the time of one job; the process's own Dask client, if it has one, stays what it is."""
    from distributed import Client
    from distributed.client import _current_client

    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except Exception as error:
        raise InputError(
            f"No Dask scheduler answers at {address}. Start one with `dask scheduler`, and give its address as tcp://host:8786."
        ) from error
    with client:
        # Client.as_current would also have every array of this process computed on the cluster, those that a window draws included.
        token = _current_client.set(client)
        try:
            yield client
        finally:
            _current_client.reset(token)


def _suitable(client: Client, address: str) -> list[str]:
    """Return the workers that have the same packages as this process."""
    workers = set(client.nthreads())
    if not workers:
        raise _no_workers(address)
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


def _no_workers(address: str) -> ComputeError:
    return ComputeError(f"The Dask scheduler at {address} has no workers. Start one with `dask worker {address}`, then try again.")
