"""What the networks of images have in common: planes within, volumes of one slice outside, and any size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from napari_breastseg.networks.ends import padded, two_logits
from napari_breastseg.networks.hcma_unet import crop
from napari_breastseg.networks.segmentation import SegmentationNetwork

DIVISOR = 32


class FlatNetwork(SegmentationNetwork):
    """A network of images, D = 1, of one published logit.

    Any size is taken: the input is padded to a multiple of 32 by replication and the outputs are cropped.
    """

    flat = True

    @abstractmethod
    def look(self, x: Tensor) -> list[Tensor]:
        """Encode planes (batch, channel, H, W), H and W multiples of 32."""

    @abstractmethod
    def answer(self, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, H, W) and the logit (batch, 1, H, W), at the size of the padded input."""

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return planes (batch, channel, H, W) of x (batch, channel, 1, H, W)."""
        return self.look(padded(x[:, :, 0], (DIVISOR,) * 2, (DIVISOR,) * 2))

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, 1, H, W)."""
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, 1, H, W) and the logits (batch, 2, 1, H, W)."""
        features, logit = (crop(planes[:, :, None], size) for planes in self.answer(encoded))
        return features, two_logits(logit)
