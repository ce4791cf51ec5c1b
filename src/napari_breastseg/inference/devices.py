"""Which device runs a network."""

from __future__ import annotations

import torch

from napari_breastseg.errors import ComputeError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `name`: "cpu", "cuda", "mps", or "auto" for the fastest one here.

    Raises
    ------
    ComputeError
        If the device does not exist on this computer.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "mps" if available["mps"] else "cpu")
    if not available.get(name, False):
        here = ", ".join(device for device, ready in available.items() if ready)
        raise ComputeError(f"The device {name!r} is not available here. Choose one of: auto, {here}.")
    return torch.device(name)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice; some back ends of torch say so in the text alone."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (isinstance(error, RuntimeError) and "alloc" in str(error).lower())
