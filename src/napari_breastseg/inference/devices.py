"""Which device runs a network."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_breastseg.errors import ComputeError

AGREEMENT = 0.02
"""Largest difference between two devices or precisions, as a share of the numbers, that is still taken for right."""

SHORT_OF_MEMORY = ("alloc", "could not create a primitive", "could not create a memory")
"""Parts of the messages of torch's allocators, and of oneDNN, which says no more."""


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


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the half precision that a device computes in hardware; None for a CPU, whose kernels of it are slower and need no less."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else None


def same_numbers(found: Tensor, expected: Tensor) -> bool:
    """Tell whether two calculations of the logits (batch, 2, D, H, W) agree: by the root mean square of tumour's lead over the rest.

    Of noise a network thinks that it is no tumour, wherever it is computed: the probabilities would agree whatever the numbers.
    """
    lead, wanted = (logits[:, 1] - logits[:, 0] for logits in (found, expected))
    return bool((lead - wanted).square().mean().sqrt() <= AGREEMENT * wanted.square().mean().sqrt())


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice; some back ends of torch say so in the text alone."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in SHORT_OF_MEMORY)
