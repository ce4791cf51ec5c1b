"""Running windows on a device, stepping down when memory runs out instead of failing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from napari_breastseg.errors import ComputeError
from napari_breastseg.inference.cuda import GraphedNetwork
from napari_breastseg.inference.devices import half_precision, out_of_memory, pick_device, same_numbers
from napari_breastseg.inference.engines import LARGE, OpenVINONetwork, first_line, openvino_network
from napari_breastseg.inference.memory import give_back
from napari_breastseg.inference.windows import Canvas, Map, plan_windows
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.hcnet import HCNet

T = TypeVar("T")

BATCH = {"cuda": 4, "mps": 2, "cpu": 1}
"""Windows at a time: a CPU gains nothing from more."""
EDGES = (48, 32)
"""Longest edges of what the network sees at once, when memory does not suffice for whole windows."""
TOO_LITTLE = "There is too little memory to run the model. Close other programs and try again."


class Runner:
    """A model on a device.

    Parameters
    ----------
    model : Model
    device : str
        "auto", "cpu", "cuda" or "mps".
    batch : int, optional
        Windows at a time; what suits the device if not given.

    Attributes
    ----------
    batch : int
    edge : int or None
        Longest edge (voxels) of what the network sees at once; None while that is a whole window.
    precision : dtype
        In which the network computes.
    steps : list of str
        What had to be given up to run at all, for people; empty in the normal case.
    """

    device: torch.device
    precision: torch.dtype
    _engine: OpenVINONetwork | str | None
    _graphed: GraphedNetwork | None

    def __init__(self, model: Model, device: str = "auto", batch: int | None = None) -> None:
        self.model = model
        self.steps: list[str] = []
        self.edge: int | None = None
        try:
            self._settle(pick_device(device), batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._use_cpu(f"The {device} device has no room for the model, so the CPU is used.")
        if self.device.type == "mps" and not self._agrees_with_cpu():
            self._use_cpu("The Apple GPU lacks an operator or gave other numbers than the CPU, so the CPU is used.")

    @property
    def engine(self) -> OpenVINONetwork | str:
        """What runs the convolutions on a CPU, or why torch does; compiled when it is first needed."""
        if self._engine is None and self.device.type == "cpu":
            self._engine = openvino_network(self.network, self.model.preset.channels, self.model.sha)
        return self._engine or "torch is the engine of this device"

    @property
    def engine_name(self) -> str:
        """Name of the engine: "openvino" or "torch"."""
        return "torch" if isinstance(self.engine, str) else "openvino"

    def probability(self, windows: Map) -> Map:
        """Return the probability of tumour, shape (batch, z, y, x), of windows of shape (batch, channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._split(windows), self.step_down)

    def first_probability(self, windows: Map) -> Map:
        """Return what :meth:`probability` does, of the coarse prediction of a network that has its own.

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: np.concatenate([self._first(window[None]) for window in windows]), self._leave_gpu)

    def features(self, channels: Map) -> Tensor:
        """Return the last features, shape (feature, z, y, x), float32 on the CPU, of one window of shape (channel, z, y, x).

        Never in half precision, in which cosines close to 1 are equal.

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._features(channels), self._leave_gpu)

    def pooled(self, channels: Map) -> Map:
        """Return the mean of each of the encoder's deepest features, shape (feature,), over one window of shape (channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._pooled(channels), self._leave_gpu)

    def heterogeneity(self, channels: Map) -> Map:
        """Return the probability of each cluster, shape (label, z, y, x), that an HCNet predicts of one window (channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._heterogeneity(channels), self._leave_gpu)

    def own_maps(self, channels: Map) -> dict[str, Map]:
        """Return what the method itself shows of one window (channel, z, y, x): maps (z, y, x) by their names.

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._own_maps(channels), self._leave_gpu)

    def step_down(self) -> bool:
        """Take the next rung of the memory ladder: batch, size, precision, device; return whether there was one."""
        if self.batch > 1:
            self.batch //= 2
            self.steps.append(f"Memory was short, so {self.batch} window(s) run at a time.")
        elif smaller := [edge for edge in EDGES if self.edge is None or edge < self.edge]:
            self.edge = smaller[0]
            self.steps.append(f"Memory was short, so windows are cut to {self.edge} voxels: what lies further apart is not seen together.")
        elif self.precision == torch.float32 and (half := half_precision(self.device)) and self._holds(half):
            self.precision, self._graphed = half, None
            self.steps.append("Memory was short, so the network computes in half precision.")
        else:
            return self._leave_gpu()
        return True

    def _settle(self, device: torch.device, batch: int | None = None) -> None:
        self.device = device
        self.batch = batch or BATCH[device.type]
        self.network = self.model.network(device)
        self.precision = torch.float32
        self._engine = None
        self._graphed = None
        if device.type == "cuda":
            half = half_precision(device)
            if half is not None and self._holds(half):
                self.precision = half

    def _leave_gpu(self) -> bool:
        if self.device.type == "cpu":
            return False
        self._use_cpu(f"The {self.device.type} device ran out of memory, so the CPU is used.")
        return True

    def _use_cpu(self, why: str) -> None:
        self.steps.append(why)
        self.edge = None
        self._settle(torch.device("cpu"))

    def _within_memory(self, work: Callable[[], T], step_down: Callable[[], bool]) -> T:
        """Do the work, stepping down as often as memory runs out."""
        while True:
            try:
                return work()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                # Its frames hold what the failed pass has made, and that must be free for the next.
                failure = error.with_traceback(None)
                failure.__context__ = None
            if self.device.type == "cuda":
                self._graphed = None
                torch.cuda.empty_cache()
            if not step_down():
                raise ComputeError(TOO_LITTLE) from failure

    def _split(self, windows: Map) -> Map:
        """Run as many windows at a time, as large, as the rung of the ladder allows."""
        return np.concatenate([self._cut(windows[low : low + self.batch]) for low in range(0, len(windows), self.batch)])

    def _cut(self, windows: Map) -> Map:
        z, y, x = windows.shape[2:]
        if self.edge is None or max(z, y, x) <= self.edge:
            return self._run(windows)
        parts = plan_windows((z, y, x), (self.edge,) * 3, stretch=1)
        canvases = [Canvas((z, y, x), parts) for _ in windows]
        for part in parts:
            (z0, z1), (y0, y1), (x0, x1) = part
            for canvas, values in zip(canvases, self._run(windows[:, :, z0:z1, y0:y1, x0:x1]), strict=True):
                canvas.add(part, values)
        return np.stack([canvas.mean() for canvas in canvases])

    def _run(self, windows: Map) -> Map:
        x = torch.from_numpy(np.ascontiguousarray(windows, np.float32)).to(self.device)
        with torch.inference_mode():
            logits = self._logits(x).float()
        result: Map = torch.sigmoid(logits[:, 1] - logits[:, 0]).cpu().numpy()
        if self.device.type == "cpu" and windows.size >= LARGE:
            del x, logits
            give_back()
        return result

    def _logits(self, x: Tensor) -> Tensor:
        if self.device.type == "cuda":
            self._graphed = self._graphed or GraphedNetwork(self.network, self.precision)
            return self._graphed(x)
        if isinstance(self.engine, str):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                logits: Tensor = self.network(x)
            return logits
        try:
            return torch.cat([self.engine(window[None]) for window in x])
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            self._engine = f"OpenVINO failed ({first_line(error)})"
            self.steps.append(f"{self._engine}, so torch is used.")
            return self._logits(x)

    def _first(self, windows: Map) -> Map:
        x = torch.from_numpy(np.ascontiguousarray(windows, np.float32)).to(self.device)
        with torch.inference_mode():
            logits = self.network.first_logits(self.network.encode(x), x.shape[2:]).float()
        found: Map = torch.sigmoid(logits[:, 1] - logits[:, 0]).cpu().numpy()
        return found

    def _features(self, channels: Map) -> Tensor:
        x = self._one(channels)
        with torch.inference_mode():
            return self.network.features(self.network.encode(x), x.shape[2:])[0][0].float().cpu()

    def _heterogeneity(self, channels: Map) -> Map:
        assert isinstance(self.network, HCNet)
        found: Map = self.network.heterogeneity(self._one(channels))[0].cpu().numpy()
        return found

    def _own_maps(self, channels: Map) -> dict[str, Map]:
        with torch.inference_mode():
            return {name: found[0].float().cpu().numpy() for name, found in self.network.own_maps(self._one(channels)).items()}

    def _one(self, channels: Map) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(self.device)

    def _pooled(self, channels: Map) -> Map:
        x = self._one(channels)
        with torch.inference_mode():
            means: Map = self.network.encode(x)[-1][0].float().flatten(1).mean(1).cpu().numpy()
        return means

    def _sample(self) -> Tensor:
        size = (1 if self.model.preset.flat else 32, 32, 32)
        return torch.randn(1, self.model.preset.channels, *size, generator=torch.Generator().manual_seed(0))

    def _agrees_with_cpu(self) -> bool:
        """Compare the device with the CPU on a small patch."""
        sample = self._sample()
        try:
            with torch.inference_mode():
                return same_numbers(self.network(sample.to(self.device)).cpu(), self.model.network("cpu")(sample))
        except RuntimeError:  # an operator that this version of torch lacks there
            return False

    def _holds(self, half: torch.dtype) -> bool:
        """Compare half precision with single precision on a small patch."""
        sample = self._sample().to(self.device)
        try:
            with torch.inference_mode():
                exact = self.network(sample)
                with torch.autocast(self.device.type, half):
                    return same_numbers(self.network(sample).float(), exact)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return False
