"""Learning from images of one slice: patches, training and prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_breastseg.case import UNDECIDED, Geometry
from napari_breastseg.errors import InputError, ModelError
from napari_breastseg.inference import predict
from napari_breastseg.inference.predict import SMALLEST_SHARE, clean_mask
from napari_breastseg.io import read_case
from napari_breastseg.io.cohort import LabelledCase, find_cases
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model, save_model
from napari_breastseg.progress import run
from napari_breastseg.training import from_corrections
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import LearnConfig, TrainConfig
from napari_breastseg.training.corrections import CorrectedWindow, Correction
from napari_breastseg.training.examiner import Examiner
from napari_breastseg.training.from_corrections import learn
from napari_breastseg.training.from_scratch import _balanced, train_from_scratch
from napari_breastseg.training.loop import FitConfig
from napari_breastseg.training.loop import fit as train
from napari_breastseg.training.objective import Objective
from napari_breastseg.training.sampling import Volume, cut, draw_patch, make_volume

PRESET = get_preset("hcma-unet/ultrasound")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dark masses in speckle, with their masks, as image files."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    y, x = np.mgrid[:300, :400]
    for number in range(2):
        mass = (y - 140) ** 2 + (x - 150 - 80 * number) ** 2 < 60**2
        image = np.clip(rng.rayleigh(np.where(mass, 15, 60)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"{number}.png")
        Image.fromarray(mass.astype(np.uint8) * 255).save(tmp_path / "data" / "masks" / f"{number}.png")
    return tmp_path / "data"


def test_cut_takes_an_edge_for_each_axis() -> None:
    array = np.arange(2 * 9).reshape(2, 3, 3)
    part = cut(array, np.array([1, 0, 1]), (1, 2, 3), -1)
    np.testing.assert_array_equal(part, [[[-1, -1, -1], [9, 10, 11]]])


@pytest.mark.parametrize("seed", range(12))  # half resolution among them
def test_image_and_labels_stay_aligned_and_upright(seed: int) -> None:
    labels = np.zeros((1, 64, 64), np.uint8)
    labels[:, 24:44, 20:40] = 1
    shadow = np.cumsum(labels, 1) > 0  # below the mass, and the mass itself
    volume = Volume(shadow[None].astype(np.float16), labels, {})
    image, label = draw_patch(np.random.default_rng(seed), volume, np.array([0, 32, 32]), (1, 48, 48))
    assert (image.shape, label.shape) == ((1, 1, 48, 48), (1, 48, 48))
    assert image[0][label == 1].mean() > image[0][label == 0].mean() + 0.1
    rows = np.flatnonzero(label.any(axis=(0, 2)))
    columns = label.any(axis=(0, 1))
    below, above = image[0, 0, rows[-1] + 2 :, columns], image[0, 0, : max(rows[0] - 2, 0), columns]
    if below.size and above.size:
        assert below.mean() > above.mean()


def test_training_and_prediction(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(steps=1, batch=2, patch=32, phantoms=0)
    model = load_model(run(train_from_scratch(PRESET, config, tmp_path / "run", find_cases(folder))))
    case = read_case(folder / "images" / "0.png")
    previews = []
    prediction = run(predict(case, model, device="cpu"), lambda p: previews.append(p.payload))
    assert prediction.probability.shape == prediction.refined.shape == (1, 300, 400)
    assert np.isfinite(prediction.probability).all() and 0 <= prediction.probability.min() and prediction.probability.max() <= 1
    assert prediction.details["windows"] == 1
    assert [p.kind for p in previews if p is not None] == ["coarse", "refined"]


def test_the_whole_image_is_the_region_and_its_grid_one_slice(folder: Path) -> None:
    volume = make_volume(*LabelledCase("0", folder / "images" / "0.png", folder / "masks" / "0.png").read(), PRESET)
    assert volume.channels.shape == (1, 1, 38, 50)
    assert abs(float(volume.channels.astype(np.float32).mean())) < 0.05


def test_parts_of_an_image_are_dropped_by_their_share() -> None:
    mask = np.zeros((1, 100, 100), bool)
    mask[0, :2, :5] = True  # 10 pixels of 10 000
    mask[0, 50, 50:59] = True
    assert SMALLEST_SHARE * mask.size == 10
    for voxel_ml in (1e-6, 1.0):
        assert clean_mask(mask, voxel_ml).sum() == 10


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no phantoms of ultrasound"):
        run(train_from_scratch(PRESET, TrainConfig(phantoms=1), tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelError, match="No weights come with hcma-unet/ultrasound. Train it"):
        load_model("hcma-unet/ultrasound")


def test_an_image_on_the_grid_of_its_longer_side_is_seen_as_a_whole(folder: Path) -> None:
    preset = get_preset("ha-net/compact")
    volume = make_volume(*LabelledCase("0", folder / "images" / "0.png", folder / "masks" / "0.png").read(), preset)
    assert volume.channels.shape == (1, 1, 192, 256)
    assert 0 <= volume.channels.min() < 0.02 and 0.9 < volume.channels.max() <= 1
    shown = [draw_patch(np.random.default_rng(seed), volume, np.array([0, 0, 0]), preset.patch)[1] for seed in range(8)]
    shares = sorted(float(label.sum() / volume.labels.sum()) for label in shown)
    assert shares[0] > 0.05  # at half resolution, made smaller by a third
    assert shares[4] > 0.4


@pytest.mark.parametrize("flat", [True, False])
def test_corrected_images_are_learned_from_both_ways_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat: bool) -> None:
    """Left and right of an image may be exchanged; what judges is the image as it is, and examinations are learned from as they are."""
    learned: list[CorrectedWindow] = []
    judged: list[CorrectedWindow] = []
    rates: list[float] = []

    class Taught(Objective):
        def __init__(self, network: Any, corrected: Any, *others: Any) -> None:
            super().__init__(network, corrected, *others)
            learned.extend(window for _, window in corrected)

    class Exam(Examiner):
        def __init__(self, network: Any, corrected: Any, *others: Any) -> None:
            super().__init__(network, corrected, *others)
            judged.extend(window for _, window in corrected)

    def fit(network: Any, loss: Any, config: FitConfig, *others: Any) -> Any:
        rates.append(config.learning_rate)
        return train(network, loss, config, *others)

    monkeypatch.setattr(from_corrections, "Objective", Taught)
    monkeypatch.setattr(from_corrections, "Examiner", Exam)
    monkeypatch.setattr(from_corrections, "fit", fit)
    monkeypatch.setattr(from_corrections, "PRACTICE_SEEDS", ())
    monkeypatch.setattr(from_corrections, "EXAM_SEEDS", ())
    preset = get_preset("ha-net/compact" if flat else "hcma-unet")
    shape = (1, 60, 80) if flat else (20, 24, 28)
    images = np.random.default_rng(0).random((1 if flat else 2, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[..., :20, :10] = 1
    for name, array in (("images", images), ("learn", labels), ("held", np.full(shape, UNDECIDED, np.uint8))):
        np.save(tmp_path / f"{name}.npy", array)
    geometry = Geometry((1.0, 1.5, 1.5), np.eye(4), shape[::-1])
    correction = Correction(
        "one", tmp_path / "images.npy", geometry, tmp_path / "learn.npy", tmp_path / "held.npy", done=True,
        modality="ultrasound" if flat else "dce-mri",
    )  # fmt: skip
    torch.manual_seed(0)
    model = save_model(preset.build().state_dict(), {"preset": preset.name}, tmp_path)
    run(learn(model, model, [correction], LearnConfig(steps=1, gate=False), tmp_path / "round", "cpu"))
    assert rates == [LearnConfig().learning_rate * (0.25 if flat else 1)]
    assert len(judged) >= 1 and all(one is two for one, two in zip(learned, judged, strict=False))
    assert len(learned) == (2 if flat else 1) * len(judged)
    for window, other in zip(judged, learned[len(judged) :], strict=False):
        np.testing.assert_array_equal(other.image, window.image[..., ::-1])
        np.testing.assert_array_equal(other.taught, window.taught[..., ::-1])
        assert (other.image != window.image).any() and (other.taught == 1).any()


def test_every_folder_of_images_is_drawn_equally_often(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for group, count in (("benign", 5), ("normal", 1)):
        for kind in ("images", "masks"):
            (tmp_path / group / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / group / "images" / f"{group}{number}.png")
            Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / group / "masks" / f"{group}{number}.png")
    cases = find_cases(tmp_path)
    assert [case.group for case in cases] == ["benign"] * 5 + ["normal"]
    assert _balanced([case.group for case in cases]) == pytest.approx([0.1] * 5 + [0.5])
    volumes = [Volume(np.full((1, 1, 32, 32), index, np.float16), np.zeros((1, 32, 32), np.uint8), _anywhere()) for index in range(6)]
    seen = [_drawn(volumes, step, _balanced([case.group for case in cases])) for step in range(100)]
    assert 0.4 < np.mean(np.array(seen) > 4) < 0.6


def _anywhere() -> dict[str, np.ndarray]:
    return {kind: np.array([[0, 16, 16]]) for kind in ("tumour", "bright", "body")}


def _drawn(volumes: list[Volume], step: int, shares: list[float]) -> float:
    """Which of the volumes, whose values are their numbers, a batch of one shows, but for what augmentation does to its brightness."""
    watched: list[int] = []

    class Watched(list[Volume]):
        def __getitem__(self, index: int) -> Volume:  # type: ignore[override]
            watched.append(index)
            return super().__getitem__(index)

    draw_batch(Watched(volumes), TrainConfig(batch=1, patch=32), step, flat=True, shares=shares)
    return watched[0]


def test_an_encoder_that_does_not_fit_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    for name, why in (("ha-net/paper", "missing or damaged"), ("ha-net/compact", "no encoder that ImageNet"), ("hcnet", "no encoder that")):
        with pytest.raises(ModelError, match=why):
            run(train_from_scratch(get_preset(name), TrainConfig(phantoms=0), tmp_path / "run", find_cases(folder), encoder=file))
        assert not (tmp_path / "run").exists()
