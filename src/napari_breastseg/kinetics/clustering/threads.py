"""One thread for numerics so small that more only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on the calling thread alone.

    Sums are then the same on every number of threads, and so is the hash of a codebook; and on a machine that is busy, steps of
    milliseconds do not wait for a second thread that has no processor.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
