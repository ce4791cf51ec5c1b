"""Windows of replay: whole, with their tumours, the same every time, and made only once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.methods import get_preset
from napari_breastseg.progress import run
from napari_breastseg.training import replay
from napari_breastseg.training.sampling import Volume


def volume(tumour: bool) -> Volume:
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 48, 44), np.uint8)
    labels[18:22, 6:10, 30:34] = tumour
    channels = rng.normal(size=(2, *labels.shape)).astype(np.float16)
    centres = {"tumour": np.argwhere(labels == 1), "bright": np.array([[20, 24, 22]]), "body": np.array([[20, 24, 20]])}
    return Volume(channels, labels, centres)


def test_central_windows_hold_the_tumour_or_healthy_tissue() -> None:
    with_tumour, without = replay.central_windows([volume(True), volume(False)], (32, 32, 32))
    for image, labels in (with_tumour, without):
        assert image.shape == (2, 32, 32, 32)
        assert image.dtype == np.float32
        assert labels.shape == (32, 32, 32)
    assert with_tumour[1].sum() == 64
    assert without[1].sum() == 0
    np.testing.assert_array_equal(without[0], volume(False).channels[:, 4:36, 8:40, 6:38])


def test_practice_windows_are_the_same_every_time_and_often_show_a_tumour() -> None:
    first, again = (replay.practice_windows([volume(True)], (32, 32, 32), drawn=12) for _ in range(2))
    assert len(first) == 13
    for (image, labels), (image2, labels2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels, labels2)
    shown = sum(bool(labels.any()) for _, labels in first)
    assert 3 <= shown <= 12


def test_phantoms_are_made_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SHAPE", (24, 32, 32))
    preset = get_preset("hcma-unet/practical")
    (made,) = run(replay.replay_volumes(preset, range(9000, 9001), tmp_path))
    monkeypatch.setattr(replay, "make_volume", None)  # a second making would fail
    (read,) = run(replay.replay_volumes(preset, range(9000, 9001), tmp_path))
    np.testing.assert_array_equal(made.channels, read.channels)
    np.testing.assert_array_equal(made.labels, read.labels)


def test_a_damaged_phantom_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SHAPE", (24, 32, 32))
    preset = get_preset("hcma-unet/practical")
    (made,) = run(replay.replay_volumes(preset, range(9000, 9001), tmp_path))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"no archive"):
        path.write_bytes(torn)
        (again,) = run(replay.replay_volumes(preset, range(9000, 9001), tmp_path))
        np.testing.assert_array_equal(made.channels, again.channels)
        assert len(path.read_bytes()) == len(whole)


@pytest.mark.parametrize("name", ["hcma-unet", "tsesnet", "brems-net"])
def test_every_case_that_the_gate_judges_on_has_tumour(name: str) -> None:
    exemplar = get_preset(name).exemplar
    assert exemplar is not None
    for seed in replay.EXAM_SEEDS[:1] if name != "brems-net" else replay.EXAM_SEEDS:
        assert exemplar(seed, replay.SHAPE)[1].sum() > 10


def test_some_mammograms_to_learn_from_are_healthy() -> None:
    exemplar = get_preset("brems-net").exemplar
    assert exemplar is not None
    assert [bool(exemplar(seed, replay.SHAPE)[1].any()) for seed in (1000, 1007, 1005)] == [True, True, False]
