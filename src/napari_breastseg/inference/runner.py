"""Running one window on a device, stepping down when memory runs out instead of failing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_breastseg.errors import ComputeError
from napari_breastseg.inference.devices import out_of_memory, pick_device
from napari_breastseg.inference.engines import OpenVINONetwork, first_line, openvino_network
from napari_breastseg.methods.model import Model

T = TypeVar("T")

TOLERANCE = 1e-2
"""Largest difference in probability between a device and the CPU that is still taken for right."""


class Runner:
    """A model on a device.

    Parameters
    ----------
    model : Model
    device : str
        "auto", "cpu", "cuda" or "mps".

    Attributes
    ----------
    steps : list of str
        What had to be given up to run at all, for people; empty in the normal case.
    """

    def __init__(self, model: Model, device: str = "auto") -> None:
        self.model = model
        self.steps: list[str] = []
        self.device = pick_device(device)
        self.network = model.network(self.device)
        self._engine: OpenVINONetwork | str | None = None
        if self.device.type == "mps" and not self._agrees_with_cpu():
            self._fall_back("The Apple GPU lacks an operator or gave other numbers than the CPU, so the CPU is used.")

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

    def probability(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the probability of tumour, shape (z, y, x), of one window of shape (channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._run(channels))

    def features(self, channels: npt.NDArray[np.float32]) -> Tensor:
        """Return the last features, shape (feature, z, y, x), float32 on the CPU, of one window of shape (channel, z, y, x).

        Never in half precision, in which cosines close to 1 are equal.

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._features(channels))

    def pooled(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the mean of each of the encoder's deepest features, shape (feature,), over one window of shape (channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        return self._within_memory(lambda: self._pooled(channels))

    def _within_memory(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if self.device.type == "cpu":
                raise ComputeError("There is too little memory to run the model. Close other programs and try again.") from error
            self._fall_back(f"The {self.device.type} device ran out of memory, so the CPU is used.")
            return self._within_memory(work)

    def _run(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x = torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self._logits(x).float()
        result: npt.NDArray[np.float32] = torch.sigmoid(logits[0, 1] - logits[0, 0]).cpu().numpy()
        return result

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.engine, str):
            logits: torch.Tensor = self.network(x)
            return logits
        try:
            return self.engine(x)
        except RuntimeError as error:
            self._engine = f"OpenVINO failed ({first_line(error)})"
            self.steps.append(f"{self._engine}, so torch is used.")
            return self._logits(x)

    def _features(self, channels: npt.NDArray[np.float32]) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(self.device)
        with torch.inference_mode():
            return self.network.features(self.network.encode(x), x.shape[2:])[0][0].float().cpu()

    def _pooled(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x = torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(self.device)
        with torch.inference_mode():
            means: npt.NDArray[np.float32] = self.network.encode(x)[-1][0].float().flatten(1).mean(1).cpu().numpy()
        return means

    def _agrees_with_cpu(self) -> bool:
        sample = np.random.default_rng(0).normal(size=(self.model.preset.channels, 32, 32, 32)).astype(np.float32)
        try:
            here = self._run(sample)
        except RuntimeError:  # an operator that this version of torch lacks there
            return False
        with torch.inference_mode():
            logits = self.model.network("cpu")(torch.from_numpy(sample)[None])
        return bool(np.abs(here - torch.sigmoid(logits[0, 1] - logits[0, 0]).numpy()).max() < TOLERANCE)

    def _fall_back(self, why: str) -> None:
        self.steps.append(why)
        self.device = torch.device("cpu")
        self.network = self.model.network("cpu")
