"""How many threads the numerics of a job may use."""

from __future__ import annotations


def use_threads(count: int) -> None:
    """Let the numerics of this thread and of those that it starts use `count` threads.

    Dask gives a worker its share of the processors as ``--nthreads``, but has it start with one thread for numerics. OpenVINO and the scan
    ask torch for their number of threads.
    """
    import torch

    torch.set_num_threads(count)
