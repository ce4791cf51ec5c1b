"""What the networks of images have in common: planes within, volumes of one slice outside, and any size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from napari_breastseg.networks.ends import padded, two_logits
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import Part, SegmentationNetwork

DIVISOR = 32


class FlatNetwork(SegmentationNetwork):
    """A network of images, D = 1, of one published logit.

    Any size is taken: the input is padded to a multiple of 32 by replication and the outputs are cropped.
    """

    flat = True

    @abstractmethod
    def entrances(self) -> list[nn.Module]:
        """Return what makes each of the encoded planes out of the one before, the first out of the image."""

    @abstractmethod
    def answer(self, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, H, W) and the logit (batch, 1, H, W), at the size of the padded input."""

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return planes (batch, channel, h, w) of x (batch, channel, 1, H, W)."""
        return self._look(self.entrances(), x)

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, 1, H, W)."""
        return self.features(encoded, size)[1]

    def parts(self) -> list[nn.Module]:
        """Return the parts that another engine may run as compiled graphs, in order."""
        return [*self.entrances(), Exit(self)]

    def assemble(self, parts: Sequence[Part], x: Tensor) -> Tensor:
        """Return the logits as :meth:`forward` does in evaluation, with `parts`, or what stands for them, doing their share."""
        *entrances, leave = parts
        return self.as_logits(leave(*self._look(entrances, x)), x.shape[2:])

    def as_logits(self, logit: Tensor, size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, 1, H, W) of a logit (batch, 1, h, w) of the padded image."""
        return two_logits(crop(logit[:, :, None], size))

    def between(self, encoded: list[Tensor]) -> list[Tensor]:
        """Do what depends on the size of the image, and so stays in torch, to what the entrances made."""
        return encoded

    def _look(self, entrances: Sequence[Part], x: Tensor) -> list[Tensor]:
        seen = padded(x[:, :, 0], (DIVISOR,) * 2, (DIVISOR,) * 2)
        encoded = []
        for enter in entrances:
            seen = enter(seen)
            encoded.append(seen)
        return self.between(encoded)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, 1, H, W) and the logits (batch, 2, 1, H, W)."""
        features, logit = self.answer(encoded)
        return crop(features[:, :, None], size), self.as_logits(logit, size)


class Exit(nn.Module):
    """What makes the logit out of all encoded planes."""

    def __init__(self, network: FlatNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *encoded: Tensor) -> Tensor:
        """Map the encoded planes to the logit (batch, 1, H, W)."""
        return self.network.answer(encoded)[1]


class ThreeTimes(nn.Module):
    """Grey as three equal channels, which encoders for photographs expect."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, H, W) to (batch, 3, H, W)."""
        return x.expand(-1, 3, -1, -1)
