"""Multiply-adds of HCMA-UNet by part, from its structure, and of networks of images, by torch's counter."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_breastseg.networks.hcma_unet import STRIDES, WIDTHS
from napari_breastseg.networks.mixers import Mixer

STATES = 32
SCAN = "scan"


def hcma_unet_macs(mixer: Mixer = "full", channels: int = 1, classes: int = 2, size: int = 128) -> dict[str, int]:
    """Count the multiply-adds of convolutions, linear layers and matrix products of one patch; bias, norm and activation are left out.

    The layers are counted as published, one after another. The key "scan" holds the selective scan at 9 operations a state and step, which
    common counters leave out. A transposed convolution is counted over its input, which is what it computes; counters that multiply its
    kernel by its output voxels, as the one behind the paper's 126.44 GFLOPs, find 8 times as much at stride 2.

    Parameters
    ----------
    mixer : str
    channels, classes : int
    size : int
        Edge of the patch.
    """
    names = (
        "stem", "residual, widen", "residual, grouped", "residual, narrow", "view block, linear", "view block, depthwise",
        "view block, scan projections", SCAN, "slice attention, linear", "slice attention, products", "fusion", "dense",
        "decoder, pointwise", "decoder, transposed", "head",
    )  # fmt: skip
    count = dict.fromkeys(names, 0)
    count["stem"] = size**3 * _dense(channels, WIDTHS[0])
    edge = size
    for c, out, stride in zip(WIDTHS, WIDTHS[1:], STRIDES, strict=False):
        count["residual, widen"] += edge**3 * 2 * c * c
        edge //= stride
        voxels = edge**3
        count["residual, grouped"] += voxels * 2 * c * 2 * 27
        count["residual, narrow"] += voxels * 2 * c * c
        for name, each in _mixer(mixer, c, edge).items():
            count[name] += voxels * each
        count["dense"] += voxels * _dense(c, out)
    for low, high, stride in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], STRIDES[::-1], strict=True):
        count["decoder, pointwise"] += edge**3 * low * high
        count["decoder, transposed"] += edge**3 * high * high * stride**3
        edge *= stride
    count["head"] = size**3 * WIDTHS[0] * classes
    return count


def image_macs(build: Callable[[], nn.Module], size: int) -> dict[str, int]:
    """Count the multiply-adds of convolutions and matrix products for one image of `size` x `size` pixels, without computing any."""
    with torch.device("meta"):
        network, image = build().eval(), torch.empty(1, 1, 1, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return {"convolutions and products": counter.get_total_flops() // 2}


def _dense(inputs: int, outputs: int) -> int:
    return 27 * inputs + 2 * inputs * 4 * inputs + 6 * inputs * outputs


def _mixer(mixer: Mixer, c: int, slices: int) -> dict[str, int]:
    """Multiply-adds per voxel of what stands between residual and dense block."""
    if mixer == "none":
        return {}
    if mixer == "mamba3d":
        inner, rank = 2 * c, math.ceil(c / 16)
        return {
            "view block, linear": 2 * c * inner + inner * c,
            "view block, depthwise": 4 * inner,
            "view block, scan projections": inner * (rank + 2 * STATES) + rank * inner,
            SCAN: 9 * inner * STATES,
        }
    split, attention = mixer in ("vssb+asc", "full"), mixer in ("vssb+asa", "full")
    count = {"fusion": c * c}
    for w in [c // 2, c // 4, c // 4] if split else [c] * 3:
        m, e = w // 2, w // 4
        rank = math.ceil(m / 16)
        parts = {
            "view block, linear": 2 * w * m + 3 * m * e,
            "view block, depthwise": 9 * e,
            "view block, scan projections": 4 * (e * (rank + 2 * STATES) + rank * e),
            SCAN: 9 * 4 * e * STATES,
            "slice attention, linear": 3 * w * w * attention,
            "slice attention, products": 2 * slices * w * attention,
        }
        count = {name: count.get(name, 0) + parts.get(name, 0) for name in {**count, **parts}}
    return count
