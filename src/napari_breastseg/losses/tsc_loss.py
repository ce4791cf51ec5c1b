"""TSCLoss, the temporal and spatial contrast of TSESNet (eqs. 6, 7 and 10): voxels of one class are alike in all phases, unlike the rest.

All pairs of the first level would be 3e9, so that voxels are sampled; the paper's temperature of 1e-5 overflows, so that 0.1 is taken and
the loss is computed in a form that cannot overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, normalize, softplus

from napari_breastseg.case import BACKGROUND, TUMOUR
from napari_breastseg.errors import InputError
from napari_breastseg.losses.frloss import dilate

SHELL = 3
"""Voxels around the tumour from which half of the background is drawn."""
COLDEST = 0.01
"""Smallest temperature."""
EPS = 1e-6


@dataclass(frozen=True)
class TSCLoss:
    """Contrast of the features before fusion, at every level; to be added to Dice with the weights 0.5 and 0.7 (eq. 10).

    Anchors are sampled voxels of one class in one phase; their positives are other voxels of the class in the same phase and the same voxel
    in the other phases; their negatives are the sampled voxels of the other class in the same phase. Each pair of anchor z and positive z+
    costs ``-log(exp(s+ / tau) / (exp(s+ / tau) + sum exp(s- / tau)))``, where s is the cosine. The mean is taken over the pairs of each
    class, then over the two classes, so that a small tumour weighs as much as its surroundings; then over the cases that show both, and
    over the levels at which any does (eqs. 7 and 10 both sum over the levels; a sum of five would drown the Dice).

    Parameters
    ----------
    tau : float
        Temperature, at least 0.01.
    anchors : int
        Most voxels of a class that are sampled in a case at a level, the same in all phases; half of the background from around the tumour.
    positives : int
        Most positives of an anchor in its own phase.
    hardest_hinge : bool
        Take what tau times the loss tends to as tau goes to 0 instead: ``max(0, max s- - s+)``.

    Raises
    ------
    InputError
        If the temperature is below 0.01, or a number is not positive.
    """

    tau: float = 0.1
    anchors: int = 128
    positives: int = 16
    hardest_hinge: bool = False

    def __post_init__(self) -> None:
        """Refuse what overflows or compares nothing."""
        if not self.tau >= COLDEST:
            raise InputError(f"TSCLoss cannot be computed at a temperature of {self.tau:g}. Choose {COLDEST} or more; 0.1 is usual.")
        if min(self.anchors, self.positives) < 1:
            raise InputError("TSCLoss needs at least one anchor and one positive.")

    def __call__(self, levels: Sequence[Tensor], labels: Tensor, available: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        levels : sequence of Tensor, shape (batch, phase, channel, d, h, w)
            Features before fusion; each level's size divides that of the labels.
        labels : Tensor, shape (batch, D, H, W), integer
            1 tumour, 0 background; anything else takes part in nothing. Of all that the levels cover, also where a network has padded its
            input: see :meth:`napari_breastseg.networks.tsesnet.Phases.laid_over`.
        available : Tensor, shape (batch, phase), bool
            Whether a case has the phase.
        generator : torch.Generator, optional
            On the CPU, draws the voxels; torch's own if not given.

        Returns
        -------
        Tensor
            Scalar; 0 with zero gradients if no case shows both tumour and background.

        Raises
        ------
        InputError
            If a level does not divide the labels.
        """
        terms = []
        for z in levels:
            tumour, background = occupied(labels, z.shape[3:])
            with torch.autocast(z.device.type, enabled=False):
                cases = [self._case(z[b, available[b]], tumour[b], background[b], generator) for b in range(len(z))]
            if found := [case for case in cases if case is not None]:
                terms.append(torch.stack(found).mean())
        nothing = torch.stack([z.sum(dtype=torch.float32) for z in levels]).sum() * 0
        return torch.stack(terms).mean() + nothing if terms else nothing

    def _case(self, z: Tensor, tumour: Tensor, background: Tensor, generator: torch.Generator | None) -> Tensor | None:
        """Loss of one case at one level, if there are pairs: z (phase, channel, d, h, w), masks (d, h, w)."""
        if not (tumour.any() and background.any()):
            return None
        inside, outside = _sample(tumour, background, self.anchors, generator)
        vectors = z.flatten(2).mT
        t, b = (_unit(vectors[:, chosen.to(z.device)]) for chosen in (inside, outside))
        across = t @ b.mT
        parts = [self._pairs(t, across, generator), self._pairs(b, across.mT, generator)]
        found = [part.mean() for part in parts if part.numel()]
        return torch.stack(found).mean() if found else None

    def _pairs(self, anchors: Tensor, against: Tensor, generator: torch.Generator | None) -> Tensor:
        """Loss of each pair of anchors (phase, n, channel) with positives; `against` (phase, n, m) are the cosines with the negatives."""
        phases, n, _ = anchors.shape
        cost = self._cost(against)
        there, others = _neighbours(n, self.positives, generator).to(anchors.device), ~torch.eye(phases, dtype=torch.bool)
        spatial = cost((anchors @ anchors.mT).gather(2, there.expand(phases, -1, -1)))
        temporal = cost(torch.einsum("inc,jnc->inj", anchors, anchors)).transpose(1, 2)[others.to(anchors.device)]
        return torch.cat([spatial.flatten(), temporal.flatten()])

    def _cost(self, against: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the cost of cosines (phase, n, any) with positives."""
        if self.hardest_hinge:
            hardest = against.amax(2, keepdim=True)
            return lambda alike: torch.relu(hardest - alike)
        total = (against / self.tau).logsumexp(2, keepdim=True)
        return lambda alike: softplus(total - alike / self.tau)


def occupied(labels: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return where a coarser grid holds tumour and where it holds background alone: boolean, shape (batch, d, h, w).

    A cell is tumour if half of it is, or, in a case without such a cell, if no other holds more: small tumours would vanish. Cells that
    hold less, and cells that hold anything undecided, are neither.

    Raises
    ------
    InputError
        If `size` (d, h, w) does not divide that of the labels (batch, D, H, W).
    """
    if any(whole % part for whole, part in zip(labels.shape[1:], size, strict=True)):
        raise InputError(
            f"Labels of {tuple(labels.shape[1:])} voxels cannot be brought to {tuple(size)}. Pad them as the network padded its input."
        )
    step = [whole // part for whole, part in zip(labels.shape[1:], size, strict=True)]
    share, rest = avg_pool3d(torch.stack([labels == TUMOUR, labels != BACKGROUND], 1).float(), step).unbind(1)
    most = share.amax((1, 2, 3), keepdim=True)
    first = torch.zeros_like(share, dtype=torch.bool).flatten(1).scatter(1, share.flatten(1).argmax(1, keepdim=True), True).view_as(share)
    tumour = torch.where(most >= 0.5, share >= 0.5, first & (most > 0))
    return tumour, rest == 0


def _sample(tumour: Tensor, background: Tensor, most: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw voxels (their places in the flat grid) of tumour and background, up to `most` each, half of the background from the shell."""
    shell = dilate(tumour[None], SHELL)[0] & background
    inside, near, far = (_shuffled(mask, generator) for mask in (tumour, shell, background & ~shell))
    nearby = max(most // 2, most - len(far))
    near = near[:nearby]
    return inside[:most], torch.cat([near, far[: most - len(near)]])


def _shuffled(mask: Tensor, generator: torch.Generator | None) -> Tensor:
    places = mask.flatten().nonzero()[:, 0].cpu()
    return places[torch.randperm(len(places), generator=generator)]


def _neighbours(n: int, most: int, generator: torch.Generator | None) -> Tensor:
    """Draw up to `most` others for each of n, shape (n, at most n - 1)."""
    lots = torch.rand(n, n, generator=generator).fill_diagonal_(-1)
    return lots.topk(min(most, n - 1), 1).indices


def _unit(vectors: Tensor) -> Tensor:
    wide = vectors if vectors.dtype == torch.float64 else vectors.float()
    return normalize(wide, dim=-1, eps=EPS)
