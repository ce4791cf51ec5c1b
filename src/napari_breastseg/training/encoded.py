"""Windows that a network learns from and is judged on: behind a frozen encoder, computed once, or as images if the encoder learns too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.networks.segmentation import SegmentationNetwork

KEPT_BYTES = 2**30
"""Room that one folder of encoded windows may take; the ones unused for longest go first."""


class Source(Protocol):
    """A window that a network can be asked about."""

    def outputs(self, network: SegmentationNetwork, *, with_features: bool = False) -> tuple[Tensor | None, Tensor]:
        """Return the last features (1, feature, z, y, x), if asked for, and the logits (1, 2, z, y, x)."""
        ...


@dataclass(frozen=True)
class Encoded:
    """A window as its encoder left it.

    Attributes
    ----------
    features : list of Tensor
    size : sequence of int
        Voxels (z, y, x) of the window.
    device : device
        Where the network is; the features may wait in the main memory.
    """

    features: list[Tensor]
    size: Sequence[int]
    device: torch.device

    def outputs(self, network: SegmentationNetwork, *, with_features: bool = False) -> tuple[Tensor | None, Tensor]:
        """Decode."""
        return _decoded(network, [one.to(self.device) for one in self.features], self.size, with_features)


@dataclass(frozen=True)
class Plain:
    """A window as an image: shape (channel, z, y, x), float32."""

    image: npt.NDArray[np.float32]
    device: torch.device

    def outputs(self, network: SegmentationNetwork, *, with_features: bool = False) -> tuple[Tensor | None, Tensor]:
        """Run the whole network, on a GPU in bfloat16."""
        x = torch.from_numpy(np.ascontiguousarray(self.image))[None].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return _decoded(network, network.encode(x), x.shape[2:], with_features)


def _decoded(
    network: SegmentationNetwork, encoded: Sequence[Tensor], size: Sequence[int], with_features: bool
) -> tuple[Tensor | None, Tensor]:
    if with_features:
        return network.features(encoded, size)
    return None, network.decode(encoded, size)


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds of tumour, (batch, z, y, x), of logits (batch, 2, z, y, x)."""
    return logits[:, 1] - logits[:, 0]


def probability(source: Source, network: SegmentationNetwork) -> npt.NDArray[np.float32]:
    """Return the probability of tumour, (z, y, x), without gradients."""
    with torch.no_grad():
        result: npt.NDArray[np.float32] = torch.sigmoid(log_odds(source.outputs(network)[1]).float())[0].cpu().numpy()
    return result


def encoder_of(weights: Mapping[str, Tensor], network: SegmentationNetwork) -> str:
    """Return a hash of the weights that the decoder does not hold."""
    learned = {name for name, _ in network.decoder_parameters()}
    digest = hashlib.sha256()
    for name in sorted(set(weights) - learned):
        # Averages of -0 are +0, which is the same number; what batch norms count is whole in a network and real in a file.
        value = weights[name].detach().cpu().float().contiguous().numpy() + np.float32(0)
        digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


class Encoder:
    """Encodes windows, each once for an encoder: what lies in `folder` from another round is read back.

    The features are kept in half precision and used as they are kept, so that it makes no difference whether they were.

    Parameters
    ----------
    network : SegmentationNetwork
        On its device.
    device : device
    hold : device
        Where the features wait.
    folder : Path, optional
    """

    def __init__(self, network: SegmentationNetwork, device: torch.device, hold: torch.device, folder: Path | None = None) -> None:
        self.network, self.device, self.hold, self.folder = network, device, hold, folder
        self.sha = encoder_of(network.state_dict(), network)

    def __call__(self, image: npt.NDArray[np.float32]) -> Encoded:
        """Encode one window of shape (channel, z, y, x)."""
        image = np.ascontiguousarray(image, np.float32)
        path = None
        if self.folder is not None:
            key = hashlib.sha256(f"{self.sha} {image.shape}".encode() + image.tobytes()).hexdigest()
            path = self.folder / f"{key[:40]}.encoded"
        features = None if path is None else _read(path)
        if features is None:
            with torch.no_grad():
                features = [one.half().cpu() for one in self.network.encode(torch.from_numpy(image)[None].to(self.device))]
            if path is not None:
                with suppress(OSError, InputError):  # a full disk costs time the next time, no more
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, safetensors.torch.save({str(i): one.contiguous() for i, one in enumerate(features)}))
        return Encoded([one.to(self.hold).float() for one in features], image.shape[1:], self.device)


def _read(path: Path) -> list[Tensor] | None:
    try:
        stored = safetensors.torch.load(path.read_bytes())
        path.touch()
        return [stored[str(i)] for i in range(len(stored))]
    except (OSError, SafetensorError, KeyError):  # not encoded yet, or damaged
        return None


def prune(folder: Path, limit: int = KEPT_BYTES) -> None:
    """Remove the windows that were unused for longest until no more than `limit` bytes of them are left in `folder`."""
    with suppress(OSError):
        found: Iterable[tuple[float, int, Path]] = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in folder.glob("*.encoded"))
        excess = sum(size for _, size, _ in found) - limit
        for _, size, path in found:
            if excess <= 0:
                return
            path.unlink()
            excess -= size
