"""Patches: aligned with their labels, repeatable, and honest about what lies outside the volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_breastseg.methods import get_preset
from napari_breastseg.phantom import make_phantom
from napari_breastseg.training import sampling
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import TrainConfig
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


def series(clock: tuple[float, ...] = (0.0, 1.5, 3.0, 4.5, 6.0)) -> Volume:
    rng = np.random.default_rng(0)
    channels = rng.normal(size=(len(clock), 24, 28, 26)).astype(np.float16)
    labels = np.zeros((24, 28, 26), np.uint8)
    labels[8:16, 8:16, 8:16] = 1
    return Volume(channels, labels, {k: np.argwhere(labels == 1) for k in ("tumour", "bright", "body")}, clock)


def test_augmentation_never_touches_the_clock() -> None:
    volume, seen = series(), set()
    for seed in range(40):
        image, _ = draw_patch(np.random.default_rng(seed), volume, np.array([1, 1, 1]), 16)
        planes = [set(plane.ravel().tolist()) for plane in image[1::2]]
        assert all(len(plane) == 1 for plane in planes)
        seen.add(tuple(plane.pop() for plane in planes))
    assert {clock[:2] for clock in seen} == {(0.0, 1.5)}  # the phase before contrast and the first one after it are always there
    assert (0.0, 1.5, 3.0, 4.5, 6.0) in seen and len(seen) > 3
    assert all(minutes in (-1.0, expected) for clock in seen for minutes, expected in zip(clock, volume.clock, strict=True))


def test_clusters_at_half_resolution_are_clusters_that_are_there() -> None:
    volume = series((0.0,))
    labels = np.where(np.indices(volume.labels.shape).sum(0) % 2, 1, 9).astype(np.uint8)  # a median would be 5
    volume = replace(volume, labels=labels)
    for seed in range(30):
        _, answer = draw_patch(np.random.default_rng(seed), volume, np.array([12, 14, 13]), 8, nominal=True)
        assert set(np.unique(answer)) <= {0, 1, 9}


def test_a_batch_of_series_says_which_phases_a_case_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "FEWER_PHASES", 0.0)
    images, _ = draw_batch([series((0.0, 1.0)), series()], TrainConfig(batch=8, patch=16), 0)
    assert images.shape == (8, 10, 16, 16, 16)
    clocks = images[:, 1::2, 0, 0, 0].tolist()
    assert {tuple(clock) for clock in clocks} == {(0.0, 1.0, -1.0, -1.0, -1.0), (0.0, 1.5, 3.0, 4.5, 6.0)}
