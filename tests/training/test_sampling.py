"""Patches: aligned with their labels, repeatable, and honest about what lies outside the volume."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.methods import get_preset
from napari_breastseg.phantom import make_phantom
from napari_breastseg.training.sampling import Volume, cut, draw_patch, make_volume


def cube(labels: np.ndarray) -> Volume:
    return Volume((labels == 1)[None].astype(np.float16), labels, {})


def test_cut_fills_what_lies_outside() -> None:
    array = np.arange(27).reshape(3, 3, 3)
    part = cut(array, np.array([0, 1, 1]), 4, -1)
    assert part.shape == (4, 4, 4)
    assert (part[:2] == -1).all()
    assert np.array_equal(part[2:, 1:, 1:], array[:2])


@pytest.mark.parametrize("seed", range(4))
def test_image_and_labels_stay_aligned_under_augmentation(seed: int) -> None:
    labels = np.zeros((48, 48, 48), np.uint8)
    labels[18:30, 18:30, 18:30] = 1
    image, label = draw_patch(np.random.default_rng(seed), cube(labels), np.full(3, 24), 32)
    assert label.any()
    inside, outside = image[0][label == 1], image[0][label == 0]
    assert inside.mean() > outside.mean() + 0.3


def test_the_same_seed_gives_the_same_patch() -> None:
    phantom = make_phantom(3, (40, 64, 64), phases=2, lesions=1, diameter=20.0)
    volume = make_volume(phantom.case, phantom.tumour, get_preset("hcma-unet/practical"))
    assert len(volume.centres["tumour"])
    assert not volume.labels[tuple(volume.centres["bright"].T)].any()
    one, same = (draw_patch(np.random.default_rng(5), volume, volume.centres["tumour"][0], 32) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
