"""Measures what the gate compares: one set of weights on the corrections, the cases that are done and the replay set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.training.corrections import CorrectedWindow, balanced_accuracy, decided_dice
from napari_breastseg.training.encoded import Plain, Source, encoder_of, probability
from napari_breastseg.training.gate import FEW, Score
from napari_breastseg.training.replay import Window

FAR = 15
"""Voxels of the working grid from any correction from which nothing should change much."""
Mask = npt.NDArray[np.bool_]


class Examiner:
    """Scores weights on windows that stay the same.

    Parameters
    ----------
    network : SegmentationNetwork
        Its encoder is the one behind the encoded sources; it keeps whatever weights were scored last.
    corrected : sequence of (Source, CorrectedWindow)
    exam : sequence of sequence of (Source, Window)
        The windows of each replay case.
    threshold : float
        Probability from which the model sees tumour.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        corrected: Sequence[tuple[Source, CorrectedWindow]],
        exam: Sequence[Sequence[tuple[Source, Window]]],
        threshold: float,
    ) -> None:
        self.network, self.corrected, self.exam, self.threshold = network, corrected, exam, threshold
        self._encoder = encoder_of(network.state_dict(), network)
        self._device = next(network.parameters()).device
        self._far = [_far(window) for _, window in corrected]
        self._kept_back = {window.case for _, window in corrected if window.kept_back}
        self._before: list[Mask] = []

    def score(self, weights: Mapping[str, Tensor]) -> Score:
        """Score `weights`. The first ones scored are those of the model in use, from which flipped voxels are counted."""
        self.network.load_state_dict(dict(weights))
        encoded = encoder_of(weights, self.network) == self._encoder
        masks = [self._mask(source, window.image, encoded) for source, window in self.corrected]
        replay, false = [], 0
        for windows in self.exam:
            found = [(self._mask(source, image, encoded), labels) for source, (image, labels) in windows]
            replay.append(_dice(found))
            false += _false(found)
        done: dict[str, list[tuple[Mask, npt.NDArray[np.uint8]]]] = {}
        for mask, (_, window) in zip(masks, self.corrected, strict=True):
            if window.done:
                done.setdefault(window.case, []).append((mask, window.decided))
        healthy = frozenset(name for name, found in done.items() if not any((labels == TUMOUR).any() for _, labels in found))
        self._before = self._before or masks
        trained = balanced_accuracy((window.learn, mask) for mask, (_, window) in zip(masks, self.corrected, strict=True))
        return Score(
            held_out=balanced_accuracy(
                (window.held_out, mask)
                for mask, (_, window) in zip(masks, self.corrected, strict=True)
                if not (window.kept_back and window.case in healthy)  # a whole slab in which a single voxel would count
            ),
            corrected=0.0 if trained is None else trained,
            replay=replay,
            cases={name: float(_false(found) <= FEW) if name in healthy else _dice(found) for name, found in done.items()},
            unseen=frozenset(self._kept_back & done.keys() - healthy),
            healthy=healthy,
            false=false + sum(map(_false, done.values())),
            flipped=sum(int(((new ^ old) & far).sum()) for new, old, far in zip(masks, self._before, self._far, strict=True)),
            tumour=sum(int(mask.sum()) for mask, far in zip(self._before, self._far, strict=True) if far.any()),
            finite=all(bool(torch.isfinite(value).all()) for value in weights.values()),
        )

    def _mask(self, source: Source, image: npt.NDArray[np.float32], encoded: bool) -> Mask:
        asked = source if encoded else Plain(image, self._device)
        mask: Mask = probability(asked, self.network) > self.threshold
        return mask


def _far(window: CorrectedWindow) -> Mask:
    decided = window.decided != UNDECIDED
    far: Mask = ndimage.distance_transform_edt(~decided) > FAR
    return far


def _dice(found: Sequence[tuple[Mask, npt.NDArray[np.uint8]]]) -> float:
    value = decided_dice(found)
    assert value is not None  # exemplars are decided everywhere, and a case that is done where its windows are
    return value


def _false(found: Sequence[tuple[Mask, npt.NDArray[np.uint8]]]) -> int:
    return sum(int((mask & (labels == BACKGROUND)).sum()) for mask, labels in found)
