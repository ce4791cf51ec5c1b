"""The codebook of a VQ-VAE, in float32: nearest code, k-means++ start, and moving averages with a restart of codes that nobody uses.

van den Oord A, Vinyals O, Kavukcuoglu K. Neural discrete representation learning. NeurIPS 2017, appendix A.1 (moving averages);
Arthur D, Vassilvitskii S. k-means++: the advantages of careful seeding. SODA 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

DECAY = 0.99
SMOOTHING = 1e-5
"""Added to every count (Laplace), so that no code is divided by zero."""
DEAD = 1.0
"""A code that fewer encodings per batch choose, by the moving average, is restarted."""


def nearest(encoded: Tensor, codes: Tensor) -> Tensor:
    """Index, shape (voxel,), of the code (code, feature) next to each encoding (voxel, feature) by the Euclidean distance."""
    # |z|^2 - 2 z c + |c|^2, of which the first term is the same for every code.
    return (codes.square().sum(1) - 2 * encoded @ codes.T).argmin(1)


def spread_codes(encoded: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` encodings by k-means++: each next one with a chance proportional to its squared distance to those chosen."""
    chosen = [int(torch.randint(len(encoded), (1,), generator=generator))]
    distance = (encoded - encoded[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        weight = distance if bool(distance.sum() > 0) else torch.ones_like(distance)  # fewer different encodings than codes
        chosen.append(int(torch.multinomial(weight, 1, generator=generator)))
        distance = torch.minimum(distance, (encoded - encoded[chosen[-1]]).square().sum(1))
    return encoded[chosen].clone()


class MovingCodebook:
    """Codes that are moving averages of the encodings next to them.

    Parameters
    ----------
    codes : Tensor, shape (code, feature)
        Where they start, as if one encoding had chosen each: a code that none chooses in the first batch is restarted at once.
    """

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self.count = torch.full((len(codes),), DEAD)
        self.total = codes * DEAD

    def update(self, encoded: Tensor, index: Tensor) -> None:
        """Move each code towards the encodings, shape (voxel, feature), that chose it: `index`, shape (voxel,)."""
        chose = one_hot(index, len(self.codes)).to(encoded.dtype)
        self.count = DECAY * self.count + (1 - DECAY) * chose.sum(0)
        self.total = DECAY * self.total + (1 - DECAY) * chose.T @ encoded
        number = self.count.sum()
        smooth = (self.count + SMOOTHING) / (number + len(self.codes) * SMOOTHING) * number
        self.codes = self.total / smooth[:, None]

    def restart(self, encoded: Tensor, generator: torch.Generator) -> None:
        """Put every dead code on a random encoding of this batch."""
        dead = self.count < DEAD
        places = torch.randint(len(encoded), (int(dead.sum()),), generator=generator)
        self.count[dead] = DEAD
        self.total[dead] = self.codes[dead] = encoded[places]
