"""How every command speaks: the answer on standard output, everything else on standard error, failures in one sentence."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from napari_breastseg.errors import BreastSegError
from napari_breastseg.progress import Job, Progress, run

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, everything else on standard error.")]
Debug = Annotated[bool, typer.Option("--debug", help="On failure print the traceback.")]


WIDE = 240
"""Columns of an answer that no terminal limits: a path is not to be broken."""
LOG_EVERY = 30.0
"""Seconds between two lines of progress in a log."""


class Report:
    """Collects a command's answer and shows its progress.

    Parameters
    ----------
    as_json : bool
        Print the answer as JSON instead of as text and tables.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True)
        self._data: dict[str, Any] | None = None
        self._shown: tuple[RenderableType, ...] = ()

    def answer(self, data: dict[str, Any], *shown: RenderableType) -> None:
        """Set the answer: `data` is JSON-ready, `shown` is the same for people."""
        self._data, self._shown = data, shown

    def say(self, text: str) -> None:
        """Tell the person something on standard error."""
        print(text, file=sys.stderr)

    def run(self, job: Job[T]) -> T:
        """Run a job with a progress bar on standard error; where that is no terminal, with a line every :data:`LOG_EVERY` seconds."""
        if not self._console.is_terminal:
            return run(job, _Log(self.say))
        words = TextColumn("{task.description}", markup=False)  # names of cases are data
        columns = (words, BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
        with Bar(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task("", total=None)

            def draw(progress: Progress) -> None:
                bar.update(task, description=progress.message, completed=progress.step, total=progress.total)

            return run(job, draw)

    def print_answer(self) -> None:
        """Print the answer on standard output."""
        if self._as_json:
            print(json.dumps(self._data if self._data is not None else {}))
        else:
            console = Console(markup=False)  # names in a session are data
            if not console.is_terminal:
                console.width = WIDE
            for part in self._shown:
                sentence = isinstance(part, str) and not console.is_terminal  # a line of a log is not broken
                console.print(part, highlight=False, soft_wrap=sentence)


class _Log:
    """Says how far a job is, seldom, so that logs stay short."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._said >= LOG_EVERY:
            self._said = now
            self._say(f"{progress.step}/{progress.total} {progress.message}")


@contextmanager
def report(as_json: bool, debug: bool) -> Iterator[Report]:
    """Run a command's body, then print its answer; a failure becomes one sentence and exit code 1.

    Whatever a library prints while the body runs goes to standard error.
    """
    speaker = Report(as_json)
    try:
        with redirect_stdout(sys.stderr):
            yield speaker
    except typer.Exit:
        raise
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit) or debug:
            raise
        text = in_a_sentence(error)
        speaker.say(text)
        if as_json:
            print(json.dumps({"error": text}))
        raise typer.Exit(1) from None
    speaker.print_answer()


def in_a_sentence(error: BaseException) -> str:
    """Say what went wrong, and what to do, in words for people."""
    if isinstance(error, BreastSegError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Stopped; what was saved stays. Run the command again: many cases go on where they were, `train` does with --resume."
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or take a smaller image, and try again."
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"The system refused to read or write{place}: {error.strerror or error}. Check the path, its permissions and the free space."
    kind = type(error).__name__
    return (
        f"Something went wrong that should not have ({kind}: {' '.join(str(error).split())}). Run again with --debug and report the output."
    )
