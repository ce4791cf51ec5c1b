"""HA-Net (hybrid attention network) for lesions in breast ultrasound: DenseNet-121, transformer attention (TAM), channel context (SFEB).

Restated from the paper; where its text, its figure and the published counts differ, the counts decide: SFEB works on the decoder's
up-sampled map, TAM's token attention has no projections, and the parts of TAM are added. No code was copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from monai.networks.nets import DenseNet
from torch import Tensor, nn
from torch.nn.functional import batch_norm, interpolate, scaled_dot_product_attention

from napari_breastseg.errors import InputError
from napari_breastseg.networks.flat import FlatNetwork

Attention: TypeAlias = Literal["token", "channel"]
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOKENS = 8
"""Edge of the deepest map of 256 x 256 pixels, for which TAM's tables are."""
TAPS = ("norm0", "pool0", "transition1", "transition2")
"""Layers of the encoder whose outputs the decoder gets: the first before its ReLU."""
BLOCKS = (6, 12, 24, 16)
"""Layers of the four dense blocks of DenseNet-121."""


class HANet(FlatNetwork):
    """HA-Net, and the rows of its ablation.

    Any size is taken: the tables of TAM, made for 256 x 256 pixels, are interpolated for others.

    Parameters
    ----------
    conv_block, sfeb, tam : bool
        The parts of Table 3, each upon the one before.
    growth, initial : int
        Growth rate and first channels of the encoder; 32 and 64 are DenseNet-121's.
    widths : sequence of int
        Channels of the decoder, from 1/16 to full resolution.
    sfeb_kernel : int
        Edge of the kernel on SFEB's pooled vector; published is 3, of which only the middle ever sees anything else than padding.
    mix : bool
        Multiply the tokens after the global attention by a learned matrix, as released; in neither text nor figure.
    tsa : str
        "token" as released, or "channel" as eqs. 1 and 2 have it.

    Raises
    ------
    InputError
        If a part is asked for without the ones before.
    """

    decoding = ("decoder", "last", "head")

    def __init__(
        self, conv_block: bool = True, sfeb: bool = True, tam: bool = True, *, growth: int = 32, initial: int = 64,
        widths: Sequence[int] = (256, 128, 64, 32, 16), sfeb_kernel: int = 3, mix: bool = True, tsa: Attention = "token",
    ) -> None:  # fmt: skip
        super().__init__()
        if tam and not conv_block:
            raise InputError("TAM of HA-Net works on what its ConvBlock makes. Ask for the ConvBlock, too.")
        self.width = widths[-1]
        # Not in place, or the first tap would be overwritten by the ReLU behind it.
        dense = DenseNet(2, 3, 1, initial, growth, BLOCKS, act=("relu", {"inplace": False}))
        self.encoder = dense.features
        first, second, deepest = _outputs(initial, growth)
        deep = widths[0] if conv_block else deepest
        self.narrow = _conv_block(deepest, deep) if conv_block else nn.Identity()
        self.attention = TAM(deep, mix, tsa) if tam else nn.Identity()
        skips = (second, first, initial, initial)
        inputs = (deep, *widths[:3])
        self.decoder = nn.ModuleList(
            UpBlock(low, skip, high, sfeb_kernel if sfeb else None) for low, skip, high in zip(inputs, skips, widths[:4], strict=True)
        )
        self.last = nn.Sequential(_up(), _conv_block(widths[3], widths[4]), nn.BatchNorm2d(widths[4]))
        self.head = nn.Conv2d(widths[4], 1, 1)

    def entrances(self) -> list[nn.Module]:
        """Return what makes the four taps, finest first, and the deepest map, of grey images (batch, 1, H, W) from 0 to 1."""
        parts: list[list[nn.Module]] = [[Coloured()]]
        for name, layer in self.encoder.named_children():
            parts[-1].append(layer)
            if name in TAPS:
                parts.append([])
        return [nn.Sequential(*layers) for layers in (*parts[:-1], [*parts[-1], nn.ReLU(), self.narrow])]

    def between(self, encoded: list[Tensor]) -> list[Tensor]:
        """Let the places of the deepest map look at each other."""
        return [*encoded[:-1], self.attention(encoded[-1])]

    def answer(self, encoded: Sequence[Tensor], context: bool = True) -> tuple[Tensor, Tensor]:
        """Return the last features (batch, width, H, W) and the logit (batch, 1, H, W); without `context` SFEB adds nothing."""
        *taps, x = encoded
        for block in self.decoder:
            x = block(x, taps.pop(), context)
        features = self.last(x)
        return features, self.head(features)

    def own_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return by how much SFEB raises the probability, from -1 to 1: it has no map of its own to show."""
        if not any(isinstance(part, SFEB) for part in self.modules()):
            return {}
        encoded = self.encode(x)
        having, lacking = (self.as_logits(self.answer(encoded, context)[1], x.shape[2:]).softmax(1)[:, 1] for context in (True, False))
        return {"sfeb-effect": having - lacking}


class Coloured(nn.Module):
    """Grey values from 0 to 1 as the three colours that ImageNet's networks expect."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, H, W) to (batch, 3, H, W)."""
        return (x - self.mean.to(x)) / self.deviation.to(x)


class TAM(nn.Module):
    """Transformer attention module, GSA(X) + TSA(X + PE): attention of all places to all others, and between tokens that know their places.

    Parameters
    ----------
    channels : int
    mix : bool
    tsa : str
    """

    def __init__(self, channels: int, mix: bool = True, tsa: Attention = "token") -> None:
        super().__init__()
        self.tsa = tsa
        self.rows = nn.Parameter(torch.randn(channels // 2, TOKENS) * 0.02)
        self.columns = nn.Parameter(torch.randn(channels // 2, TOKENS) * 0.02)
        self.query, self.key = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Parameter(torch.randn(TOKENS**2, TOKENS**2) * 0.05) if mix else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, h, w) to the same shape."""
        return self._global(x) + self._tokens(x + self._positions(x.shape[2], x.shape[3]))

    def _positions(self, h: int, w: int) -> Tensor:
        rows = interpolate(self.rows[None], size=h, mode="linear")[0]
        columns = interpolate(self.columns[None], size=w, mode="linear")[0]
        return torch.cat([rows[:, :, None].expand(-1, h, w), columns[:, None].expand(-1, h, w)])

    def _global(self, x: Tensor) -> Tensor:
        """GSA: softmax(Q^T K) V, and X added (eq. 3, with the product with V that it leaves out)."""
        query, key, value = (_as_tokens(part(x)) for part in (self.query, self.key, self.value))
        seen = scaled_dot_product_attention(query, key, value, scale=1.0)
        if self.mix is not None:
            seen = _resized(self.mix, x.shape[2], x.shape[3]).T @ seen
        return x + seen.mT.reshape(x.shape)

    def _tokens(self, x: Tensor) -> Tensor:
        """TSA, without projections."""
        tokens = _as_tokens(x)
        if self.tsa == "channel":
            tokens = tokens.mT
        seen = scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=0.1 if self.training else 0.0)
        return (seen if self.tsa == "channel" else seen.mT).reshape(x.shape)


class SFEB(nn.Module):
    """Spatial feature enhancement block: adds to every channel one number that its context decides, I + Fc Fcc.

    With I1 = relu(norm(conv3(I))), Fc = relu(norm(conv(max and mean of I1))) and Fcc = sigmoid(norm(conv1(mean of I))). In spite of its
    name there is no map in it.

    Parameters
    ----------
    channels : int
    kernel : int
        Of the convolution on the pooled vector.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.both = nn.Sequential(nn.Conv2d(2 * channels, channels, kernel, padding=kernel // 2), PooledNorm(channels), nn.ReLU())
        self.gate = nn.Sequential(nn.Conv2d(channels, channels, 1), PooledNorm(channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, h, w) to the same shape."""
        seen = self.look(x)
        out: Tensor = x + self.both(torch.cat([seen.amax((2, 3), True), seen.mean((2, 3), True)], 1)) * self.gate(x.mean((2, 3), True))
        return out


class PooledNorm(nn.BatchNorm2d):
    """Batch norm of pooled vectors, which takes its running statistics where a batch of one has none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, 1, 1) to the same shape."""
        if not self.training or len(x) > 1:
            return super().forward(x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class UpBlock(nn.Module):
    """Bilinear x 2, SFEB if there is a `kernel` for it, the skip beside it, ConvBlock."""

    def __init__(self, inputs: int, skip: int, outputs: int, kernel: int | None) -> None:
        super().__init__()
        self.up = _up()
        self.sfeb = nn.Identity() if kernel is None else SFEB(inputs, kernel)
        self.block = _conv_block(inputs + skip, outputs)

    def forward(self, x: Tensor, skip: Tensor, context: bool = True) -> Tensor:
        """Fuse x (batch, inputs, h, w), with what SFEB adds or without, with skip (batch, skip, 2 h, 2 w)."""
        up = self.up(x)
        out: Tensor = self.block(torch.cat([skip, self.sfeb(up) if context else up], 1))
        return out


def _conv_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs))


def _up() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _outputs(initial: int, growth: int) -> tuple[int, int, int]:
    """Channels after the first two transitions, and at the end."""
    after, channels = [], initial
    for layers in BLOCKS:
        after.append(channels + layers * growth)
        channels = after[-1] // 2
    return after[0] // 2, after[1] // 2, after[-1]


def _as_tokens(x: Tensor) -> Tensor:
    """Return (batch, h w, channel) of (batch, channel, h, w)."""
    return x.flatten(2).mT


def _resized(mix: Tensor, h: int, w: int) -> Tensor:
    """Interpolate the matrix between 8 x 8 tokens to one between h x w, the sum over the tokens kept."""
    if (h, w) == (TOKENS, TOKENS):
        return mix
    for _ in range(2):  # the one index, then the other
        maps = interpolate(mix.reshape(-1, 1, TOKENS, TOKENS), size=(h, w), mode="bilinear", align_corners=False)
        mix = maps.reshape(len(mix), h * w).T
    return mix * (TOKENS**2 / (h * w))
