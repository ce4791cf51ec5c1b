"""What every network of the package has in common: an encoder, and a decoder that can learn from corrections while the encoder rests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from torch import Tensor, nn

Part: TypeAlias = Callable[..., Tensor]
"""A part of a network: tensors in, one tensor out."""


class SegmentationNetwork(nn.Module, ABC):
    """A network in two halves, ``forward(x) = decode(encode(x), size)``, so that features are computed once and decoded often.

    Attributes
    ----------
    decoding : tuple of str
        Names of the submodules that :meth:`decode` uses; all other parameters belong to :meth:`encode`.
    frozen : tuple of str
        Names of the submodules that were trained beforehand and learn no more.
    flat : bool
        Whether it is made for images of one slice, D = 1.
    width : int
        Channels of the last features.
    own_coarse : bool
        Whether the method itself gives a coarse prediction first; see :meth:`first_logits`.
    """

    decoding: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    width: int
    flat: bool = False
    own_coarse: bool = False

    @abstractmethod
    def encode(self, x: Tensor) -> list[Tensor]:
        """Return what `decode` needs of x (batch, channel, D, H, W)."""

    @abstractmethod
    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, classes, D, H, W), where `size` is (D, H, W) of the input."""

    @abstractmethod
    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, feature, D, H, W), from which one linear layer makes the logits, and the logits."""

    def first_logits(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the logits (batch, 2, D, H, W) of the coarse prediction of a method that has its own, else those of :meth:`decode`."""
        return self.decode(encoded, size)

    def own_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return maps (batch, D, H, W) by which the method itself shows what it does with x (batch, channel, D, H, W); most have none."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (batch, classes, D, H, W) of x (batch, channel, D, H, W)."""
        return self.decode(self.encode(x), x.shape[2:])

    def parts(self) -> list[nn.Module]:
        """Return the parts that another engine may run as compiled graphs, in order; none if the network only runs in torch."""
        return []

    def assemble(self, parts: Sequence[Part], x: Tensor) -> Tensor:
        """Return the logits as :meth:`forward` does in evaluation, with `parts`, or what stands for them, doing their share."""
        logits: Tensor = self(x)
        return logits

    def decoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of the decoder."""
        return ((name, p) for name, p in self.named_parameters() if name.split(".")[0] in self.decoding)
