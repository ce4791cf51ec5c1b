"""Running one window on a device, stepping down when memory runs out instead of failing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from napari_breastseg.errors import ComputeError
from napari_breastseg.inference.devices import pick_device
from napari_breastseg.methods.model import Model

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
        if self.device.type == "mps" and not self._agrees_with_cpu():
            self._fall_back("The Apple GPU gave other numbers than the CPU, so the CPU is used.")

    def probability(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the probability of tumour, shape (z, y, x), of one window of shape (channel, z, y, x).

        Raises
        ------
        ComputeError
            If even the CPU has too little memory.
        """
        try:
            return self._run(channels)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "alloc" not in str(error).lower():
                raise
            if self.device.type == "cpu":
                raise ComputeError("There is too little memory to run the model. Close other programs and try again.") from error
            self._fall_back(f"The {self.device.type} device ran out of memory, so the CPU is used.")
            return self._run(channels)

    def _run(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x = torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(x).float()
        result: npt.NDArray[np.float32] = torch.sigmoid(logits[0, 1] - logits[0, 0]).cpu().numpy()
        return result

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
