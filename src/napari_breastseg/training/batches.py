"""Batches of augmented patches, the same ones for the same step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from napari_breastseg.networks.hcma_unet import edges
from napari_breastseg.preprocess.intensity import MISSING
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.prepared import TUMOURS, mapped
from napari_breastseg.training.sampling import Volume, draw_centre, draw_patch


def draw_batch(
    volumes: Sequence[Volume | Path], config: TrainConfig, step: int, flat: bool = False, labels: str = TUMOURS,
    shares: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Draw the batch of `step`: images (batch, channel, D, H, W) and labels (batch, D, H, W); the same step gives the same batch.

    Parameters
    ----------
    volumes : sequence of Volume or Path
        A volume, or the folder in which it was prepared.
    config : TrainConfig
    step : int
    flat : bool
        Whether patches have one slice.
    labels : str
        Which labels of a prepared case: `TUMOURS`, or others, between which there is no middle.
    shares : sequence of float, optional
        How often each volume is drawn; equally often if not given.
    """
    patch = edges(config.patch, flat)
    rng = np.random.default_rng((config.seed, step))
    images, answers = [], []
    for _ in range(config.batch):
        volume = volumes[int(rng.integers(len(volumes)) if shares is None else rng.choice(len(volumes), p=shares))]
        if isinstance(volume, Path):
            volume = mapped(volume, labels)
        centre = draw_centre(rng, volume, config.tumour_share)
        image, answer = draw_patch(rng, volume, centre, patch, nominal=labels != TUMOURS)
        images.append(torch.from_numpy(image))
        answers.append(torch.from_numpy(answer))
    return _stacked(images), torch.stack(answers)


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack images of series that need not have the same number of phases: those that lack some are said to miss them."""
    most = max(len(image) for image in images)
    return torch.stack([pad(image, (0, 0, 0, 0, 0, 0, 0, most - len(image)), value=MISSING) for image in images])
