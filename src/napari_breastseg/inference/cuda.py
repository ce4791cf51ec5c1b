"""A network on an NVIDIA GPU whose kernels are launched all at once, as a graph, where they can be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

KEPT = 2
"""Shapes of input whose graphs are kept: the windows of two boxes."""

Replay = Callable[[Tensor], Tensor]


class GraphedNetwork:
    """A network in evaluation mode; call it with (batch, channel, D, H, W) on the GPU for the logits.

    A forward pass is some hundred small kernels, and launching them one by one takes longer than running them. A CUDA graph of a fixed
    shape is recorded once and replayed.

    Parameters
    ----------
    network : nn.Module
    precision : dtype
        bfloat16 or float16 by autocast, or float32.
    """

    def __init__(self, network: nn.Module, precision: torch.dtype) -> None:
        self._network, self._precision = network, precision
        self._graphs: dict[torch.Size, Replay] = {}
        self._graphs_work = True

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        if not self._graphs_work:
            return self._forward(x)
        if x.shape not in self._graphs:
            while len(self._graphs) >= KEPT:
                del self._graphs[next(iter(self._graphs))]
            try:
                self._graphs[x.shape] = self._record(x)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # something in the network waits for the GPU, which a graph cannot
                torch.cuda.synchronize()
                self._graphs_work = False
                return self._forward(x)
        return self._graphs[x.shape](x)

    def _forward(self, x: Tensor) -> Tensor:
        # A graph must not hold on to weights that autocast has converted for the time of one pass.
        with torch.autocast("cuda", self._precision, enabled=self._precision != torch.float32, cache_enabled=False):
            logits: Tensor = self._network(x)
        return logits

    def _record(self, x: Tensor) -> Replay:
        given = x.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles kernels and chooses algorithms, which must not be recorded
            for _ in range(2):
                self._forward(given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._forward(given)

        def replay(x: Tensor) -> Tensor:
            given.copy_(x)
            graph.replay()
            return logits.clone()

        return replay
