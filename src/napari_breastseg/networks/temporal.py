"""TSFF, the temporal fusion of TSESNet (eqs. 8 and 9), and the two fusions that its table compares it with.

Every fusion is called with the features of one level, (batch, phase, channel, d, h, w), the minutes after the injection at which the phases
were taken, (batch, phase), negative where a case lacks the phase, and the slots of the phases among all; phase 0, before contrast, is
always there. It returns (batch, channel, d, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from napari_breastseg.errors import InputError

Attention: TypeAlias = Literal["temporal", "literal", "channel"]
ATTENTIONS: tuple[Attention, ...] = ("temporal", "literal", "channel")
PERIODS = (4.0, 8.0, 16.0, 32.0)
"""Minutes of the waves in which a time is written."""


class MeanFusion(nn.Module):
    """Mean over the phases of a case, the one before contrast among them: the row "MeanPool"."""

    def forward(self, z: Tensor, minutes: Tensor, slots: Sequence[int]) -> Tensor:
        """Fuse the phases."""
        share = (minutes >= 0).to(z.dtype)
        return torch.einsum("bp,bpcdhw->bcdhw", share / share.sum(1, keepdim=True), z)


class ConcatFusion(nn.Module):
    """All phases side by side and one linear layer, zeros for those that are missing: the row "CNN"; it fixes the number of slots.

    Parameters
    ----------
    channels : int
    slots : int
        Phases in all, the one before contrast among them.
    """

    def __init__(self, channels: int, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.reduce = nn.Conv3d(slots * channels, channels, 1)

    def forward(self, z: Tensor, minutes: Tensor, slots: Sequence[int]) -> Tensor:
        """Fuse the phases.

        Raises
        ------
        InputError
            If there are more phases than slots.
        """
        check_slots(slots, self.slots)
        here = (minutes >= 0)[:, :, None, None, None, None]
        wide = z.new_zeros(len(z), self.slots, *z.shape[2:])
        wide[:, list(slots)] = z.where(here, 0)
        fused: Tensor = self.reduce(wide.flatten(1, 2))
        return fused


class TimeEmbedding(nn.Module):
    """Add to the features of each phase a vector that stands for its time: a linear map of sines and cosines, of unit size at first.

    Attention sees a set: without the times, a curve that washes out and one that goes on rising are one and the same, the same values in
    another order. The vector is added before keys and values are made, so that the query can prefer a time, and what comes out tells at
    which time the values were that it looked at. Measured on simulated curves of three types, taken at random times, TSFF with a small
    head then names the type of 93 % of them, as many as a network that sees all values and times side by side; two thirds if only the
    keys are told the times; 60 % without them.

    Parameters
    ----------
    channels : int
    """

    waves: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("waves", 2 * math.pi / torch.tensor(PERIODS), persistent=False)
        self.mix = nn.Linear(2 * len(PERIODS), channels)
        # So that each vector is as large as the features, which are normalised; vectors that began small were never made use of.
        nn.init.normal_(self.mix.weight, std=1 / math.sqrt(len(PERIODS)))
        nn.init.zeros_(self.mix.bias)

    def forward(self, z: Tensor, minutes: Tensor) -> Tensor:
        """Map z (batch, phase, channel, d, h, w) at `minutes` (batch, phase) to the same shape."""
        angles = minutes.to(self.waves.dtype)[..., None] * self.waves
        out: Tensor = z + self.mix(torch.cat([angles.sin(), angles.cos()], -1))[..., None, None, None]
        return out


class TSFF(nn.Module):
    """Attention of the phase before contrast, f_0, to those after it, f_i: ``f_0 + sum_i a_i W_v f_i``.

    Eq. 8 as printed takes query and key both from f_0, so that every phase gets the same map, against the text, and a map of all voxels
    with all others would take 12 GB per phase at the first level. What is computed instead:

    "temporal"
        At each voxel, ``a_i = softmax_i(<W_q f_0, W_k f_i> / sqrt(c))`` over the phases that there are. A case with one of them has a = 1,
        a case with none is left as f_0.
    "literal"
        The same with ``W_k f_0`` for every phase, as printed: all scores are equal, so it is the mean of ``W_v f_i`` whatever the query.
    "channel"
        A map of channels instead, ``A_i = softmax(<W_q f_0, W_k f_i>)`` of the cosines of each two channels over all voxels, and the mean
        over the phases of ``A_i W_v f_i``.

    Memory grows with phases times voxels. The softmax is computed in fp32.

    Parameters
    ----------
    channels : int
    attention : str
    own : int
        Phases after contrast that have W_q, W_k and W_v of their own; 0 for one W that all share, whatever their number.
    time : bool
        Whether the phases after contrast are told apart by their times; see :class:`TimeEmbedding`.
    """

    def __init__(self, channels: int, attention: Attention = "temporal", own: int = 0, time: bool = False) -> None:
        super().__init__()
        self.attention, self.own = attention, own
        self.time = TimeEmbedding(channels) if time else None
        self.query, self.key, self.value = (
            nn.ModuleList(nn.Conv3d(channels, channels, 1) for _ in range(max(own, 1))) for _ in range(3)
        )  # fmt: skip

    def forward(self, z: Tensor, minutes: Tensor, slots: Sequence[int]) -> Tensor:
        """Fuse the phases.

        Raises
        ------
        InputError
            If there are more phases after contrast than have a W of their own.
        """
        first, later, present = z[:, 0], z[:, 1:], minutes[:, 1:] >= 0
        if later.shape[1] == 0:
            return first
        if self.own:
            check_slots(slots, self.own + 1)
        if self.time is not None:
            later = self.time(later, minutes[:, 1:])
        which = [slot - 1 if self.own else 0 for slot in slots[1:]]
        values = [self.value[w](later[:, i]) for i, w in enumerate(which)]
        queries = [query(first) for query in self.query]
        if self.attention == "literal":
            keys = [self.key[w](first) for w in which]
        else:
            keys = [self.key[w](later[:, i]) for i, w in enumerate(which)]
        pairs = [(queries[w], key) for w, key in zip(which, keys, strict=True)]
        if self.attention == "channel":
            values = [_mix_channels(query, key, value) for (query, key), value in zip(pairs, values, strict=True)]
            shares = (present / present.sum(1, keepdim=True).clamp(min=1))[:, :, None, None, None]
        else:
            shares = _attention(pairs, present)
        fused = first
        for i, value in enumerate(values):
            fused = fused + shares[:, i, None].to(value.dtype) * value
        return fused


def check_slots(slots: Sequence[int], most: int) -> None:
    """Refuse phases for which a network has no weights.

    Raises
    ------
    InputError
    """
    if slots[-1] >= most:
        raise InputError(
            f"This network was built for {most} phases, the one before contrast among them, but got {slots[-1] + 1}. "
            "Leave phases out, or use one with shared weights, which takes any number."
        )


def _attention(pairs: Sequence[tuple[Tensor, Tensor]], present: Tensor) -> Tensor:
    """Share (batch, phase, d, h, w) of each phase at each voxel; all 0 for a case that has no phase after contrast."""
    scores = torch.stack([(query.float() * key.float()).sum(1) / math.sqrt(query.shape[1]) for query, key in pairs], 1)
    here = present[:, :, None, None, None]
    # Where a case has none, the softmax of minus infinities would be no number.
    none = ~here.any(1, keepdim=True)
    return scores.masked_fill(~(here | none), -math.inf).softmax(1) * here


def _mix_channels(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix the channels of `value` by how much the channels of query and key are alike over all voxels."""
    with torch.autocast(query.device.type, enabled=False):
        q, k = (normalize(t.float().flatten(2), dim=-1, eps=1e-6) for t in (query, key))
        share = (q @ k.mT).softmax(-1)
    return (share.to(value.dtype) @ value.flatten(2)).view_as(value)
