"""A network on an NVIDIA GPU whose kernels are launched all at once, as a graph, where they can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_breastseg.inference.devices import out_of_memory

KEPT = 4
"""Shapes of input whose graphs are kept: the windows of two boxes, coarse and refined."""
WORTH = 2
"""Times that a shape is run as usual before its graph is recorded, which takes as long as some passes."""

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
        self._seen: Counter[torch.Size] = Counter()

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        self._seen[x.shape] += 1
        if not self._graphs_work or self._seen[x.shape] <= WORTH:
            return self._forward(x)
        if x.shape not in self._graphs:
            while len(self._graphs) >= KEPT:
                del self._graphs[next(iter(self._graphs))]
            try:
                self._graphs[x.shape] = self._record(x)
            except RuntimeError as error:
                if out_of_memory(error) or (error.__context__ is not None and out_of_memory(error.__context__)):
                    raise torch.OutOfMemoryError(str(error)) from error
                torch.cuda.synchronize()  # something in the network waits for the GPU, which a graph cannot
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
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                logits = self._forward(given)
        finally:
            torch.cuda.set_stream(before)  # a recording that fails leaves its own behind

        def replay(x: Tensor) -> Tensor:
            given.copy_(x)
            graph.replay()
            return logits.clone()

        return replay
