"""The U-Net that HA-Net is compared with: no norm, bilinear up-sampling and a convolution in place of the transposed one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_breastseg.networks.flat import FlatNetwork, ThreeTimes

WIDTHS = (64, 128, 256, 512, 1024)


class UNet(FlatNetwork):
    """U-Net of 34.5 M parameters (HA-Net, Table 3).

    Parameters
    ----------
    widths : sequence of int
        Channels of the levels, finest first.
    """

    decoding = ("ups", "decoder", "head")

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.width = widths[0]
        self.encoder = nn.ModuleList(_double(low, high) for low, high in pairwise([3, *widths]))
        levels = list(reversed(list(pairwise(widths))))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), *_conv(low, high)) for high, low in levels
        )
        self.decoder = nn.ModuleList(_double(2 * high, high) for high, _ in levels)
        self.head = nn.Conv2d(widths[0], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # without norms nothing else keeps signals alive
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def entrances(self) -> list[nn.Module]:
        """Return what makes the levels, finest first, of grey images (batch, 1, H, W)."""
        return [nn.Sequential(nn.MaxPool2d(2) if depth else ThreeTimes(), block) for depth, block in enumerate(self.encoder)]

    def answer(self, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, H, W) and the logit (batch, 1, H, W)."""
        *skips, x = encoded
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], 1))
        return x, self.head(x)


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_conv(inputs, outputs), *_conv(outputs, outputs))
