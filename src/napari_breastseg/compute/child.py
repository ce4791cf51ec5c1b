"""Run a long operation in a child process of low priority, so that its crash or memory hunger cannot harm this process.

Parent and child talk over a pipe that only they hold; what crosses it are values made by this package, never data from a file.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from napari_breastseg.compute.calls import LostError, call, for_people
from napari_breastseg.errors import BreastSegError
from napari_breastseg.progress import Job, Progress

HEARTBEAT = 0.5
"""Seconds of silence after which the last progress is repeated, so that a listener can cancel at any time."""
GRACE = 1.5
"""Seconds that a cancelled child has to unwind before it is killed."""
LOG_TAIL = 4000


def in_child(target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
    """Run the job ``target(**kwargs)`` in a spawned process of low priority.

    Closing the returned generator ends the child: it is asked to stop, killed after :data:`GRACE` seconds, and joined. The child also
    ends by itself when this process dies. Its prints go to a log, never to this process's standard output.

    Parameters
    ----------
    target : str
        ``"package.module:function"``; the function returns a generator of :class:`Progress` (a Job).
    kwargs : mapping
        Keyword arguments, picklable. Pass big arrays as paths to ``.npy`` files.
    name : str
        What the process does, for messages ("The learning process ...").

    Returns
    -------
    object
        What the job returns.

    Raises
    ------
    BreastSegError
        The same type and text as raised in the child.
    ComputeError
        If the child failed otherwise; LostError if it was killed. The child's log is attached as a note (``__notes__``).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    handle, log_name = tempfile.mkstemp(prefix="napari-breastseg-", suffix=".log")
    os.close(handle)
    log = Path(log_name)
    process = context.Process(
        target=_child_main, args=(sender, target, dict(kwargs), name, log_name), name=f"napari-breastseg {name}", daemon=True
    )
    try:
        yield Progress(0, 1, f"starting the {name} process")
        with _deaf():
            process.start()
        sender.close()
        result = yield from _listen(process, receiver, name, log)
        return result
    finally:
        _end(process)
        receiver.close()
        sender.close()
        log.unlink(missing_ok=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Keep Ctrl-C from a process that is started within, which would print a traceback while it imports; here it counts afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which, when it starts, lets Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen(process: SpawnProcess, receiver: Connection, name: str, log: Path) -> Job[Any]:
    last = Progress(0, 1, f"the {name} process is starting")
    while True:
        if not wait([receiver, process.sentinel], timeout=HEARTBEAT):
            yield last
            continue
        kind: str = "died"
        value: Any = None
        try:
            if receiver.poll():
                kind, value = receiver.recv()
        except EOFError:
            pass  # the child ended in the middle of a message
        if kind == "progress":
            last = Progress(value.step, value.total, value.message)
            yield value
        elif kind == "result":
            return value
        elif kind == "failed":
            error_type, text, is_bug = value
            failure: BreastSegError = error_type(text)
            if is_bug:
                failure.add_note(_tail(log))
            raise failure
        else:
            process.join(GRACE)
            death = LostError(_obituary(name, process.exitcode))
            death.add_note(_tail(log))
            raise death


def _obituary(name: str, exitcode: int | None) -> str:
    if exitcode is not None and exitcode == -getattr(signal, "SIGKILL", 9):
        return (
            f"The {name} process was killed, most likely for lack of memory; nothing was changed. "
            "Close other programs, or choose a smaller patch or fewer cases, and try again."
        )
    cause = f"exit code {exitcode}"
    if exitcode is not None and exitcode < 0:
        cause = f"signal {signal.Signals(-exitcode).name}"
    return f"The {name} process ended unexpectedly ({cause}); nothing was changed. Try again, or run with --debug for its log."


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
    return f"Log of the child process:\n{text or '(empty)'}"


def _end(process: SpawnProcess) -> None:
    """Ask the child to stop, kill it if it does not, and reap it."""
    if process.pid is None:
        return
    if process.is_alive():
        process.terminate()
        process.join(GRACE)
    if process.is_alive():
        process.kill()
    process.join()
    process.close()


def _child_main(sender: Connection, target: str, kwargs: dict[str, Any], name: str, log: str) -> None:
    _settle(log)
    try:
        result = _forward(call(target, kwargs), sender)
    except BrokenPipeError:
        return  # the parent has gone; nobody is left to tell
    except Exception as error:
        told = for_people(error, name)
        if told is not error:
            traceback.print_exc()
            sys.stderr.flush()
        sender.send(("failed", (type(told), str(told), told is not error)))
    else:
        sender.send(("result", result))


def _forward(job: Job[Any], sender: Connection) -> Any:
    try:
        while True:
            try:
                progress = next(job)
            except StopIteration as stop:
                return stop.value
            sender.send(("progress", progress))
    finally:
        job.close()


def _settle(log: str) -> None:
    """Give this process its place: low priority, own log, ended with its parent, deaf to Ctrl-C (the parent decides)."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable()
    if hasattr(os, "nice"):
        os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the job, so that it can tidy up
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
