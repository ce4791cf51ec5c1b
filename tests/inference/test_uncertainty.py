"""Entropy over flips, against closed forms and against flipping by hand, with networks that stand in for the real one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.inference.sweep import flips_of
from napari_breastseg.inference.uncertainty import Uncertainty, summary, uncertainty
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.preprocess.resample import resample
from napari_breastseg.progress import run

Read = Callable[[Case], npt.NDArray[np.float32]]

Odds = Callable[[Tensor], Tensor]
LN2 = math.log(2)


class StandIn(SegmentationNetwork):
    """Its log-odds of tumour are any function of the input."""

    decoding = ()

    def __init__(self, odds: Odds) -> None:
        super().__init__()
        self.odds = odds

    def encode(self, x: Tensor) -> list[Tensor]:
        return [x]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        odds = self.odds(encoded[0])
        return torch.cat([torch.zeros_like(odds), odds], 1)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        return encoded[0], self.decode(encoded, size)


def pointwise(x: Tensor) -> Tensor:
    return 2 * x[:, :1] - x[:, 1:2]


def looks_to_one_side(x: Tensor) -> Tensor:
    """Log-odds from the neighbours at one side along each axis, as no mirror image would have it."""
    first = x[:, :1]
    below, before, beside = pad(first, (0, 0, 0, 0, 3, 0)), pad(first, (0, 0, 2, 0)), pad(first, (1, 0))
    return first + below[:, :, :-3] - 2 * before[..., :-2, :] + 3 * beside[..., :-1]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Uncertainty]:
    def asked(case: Case, odds: Odds, coarse: bool = False) -> Uncertainty:
        monkeypatch.setattr(Model, "network", lambda self, device="cpu": StandIn(odds))
        model = Model(get_preset("hcma-unet/practical"), {}, {"preset": "hcma-unet/practical"}, "0" * 64, Path("none"))
        return run(uncertainty(case, model, device="cpu", region="full", coarse=coarse))

    return asked


def examination(*shape: int) -> Case:
    """Noise on the working grid of the preset."""
    images = np.random.default_rng(1).normal(200, 40, (2, *shape)).astype(np.float32)
    return Case("noise", images, Geometry((1.5, 1.5, 1.5), np.diag([-1.5, -1.5, 1.5, 1]), shape[::-1]))


def probability(odds: Odds, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return torch.sigmoid(odds(torch.from_numpy(image.copy())[None]))[0, 0].double().numpy()


def binary_entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def test_a_network_that_cannot_say_has_the_entropy_of_a_coin(ask: Callable[..., Uncertainty]) -> None:
    case = examination(12, 14, 16)
    found = ask(case, lambda x: torch.zeros_like(x[:, :1]))
    np.testing.assert_allclose(found.entropy, LN2, rtol=1e-6)
    assert found.relative == pytest.approx(2 * LN2)  # ln 2 per half a voxel of tumour
    assert found.unsure_ml == pytest.approx(12 * 14 * 16 * 1.5**3 / 1000)


def test_a_network_that_is_sure_has_no_entropy(ask: Callable[..., Uncertainty]) -> None:
    found = ask(examination(12, 14, 16), lambda x: torch.where(x[:, :1] > 0, 200.0, -200.0))
    assert found.entropy.max() == 0 and found.unsure_ml == 0 and found.relative == 0


@pytest.mark.parametrize("shape", [(12, 14, 16), (10, 20, 110)])  # one window, two windows
def test_mirror_images_do_not_matter_to_a_network_that_sees_one_voxel(
    ask: Callable[..., Uncertainty], shape: tuple[int, ...], read_whole: Read
) -> None:
    case = examination(*shape)
    expected = probability(pointwise, read_whole(case))
    found = ask(case, pointwise)
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    np.testing.assert_allclose(found.entropy, binary_entropy(expected), atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 14, 16), (1, 24, 30)])
def test_every_flip_is_undone(ask: Callable[..., Uncertainty], shape: tuple[int, ...], read_whole: Read) -> None:
    case = examination(*shape)
    image = read_whole(case)
    ways = [range(0, 1) if length == 1 else range(2) for length in shape]
    answers = []
    for backwards in itertools.product(*ways):
        mirror = tuple(slice(None, None, -1 if back else 1) for back in backwards)
        answers.append(probability(looks_to_one_side, image[(slice(None), *mirror)])[mirror])
    expected = np.mean(answers, 0)
    assert np.abs(answers[0] - expected).max() > 0.1  # the network is not symmetric, so the flips matter
    found = ask(case, looks_to_one_side)
    assert found.details["flips"] == len(answers)
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    np.testing.assert_allclose(found.entropy, binary_entropy(expected), atol=1e-5)


def test_at_half_resolution_the_map_is_on_the_grid_of_the_case(ask: Callable[..., Uncertainty], read_whole: Read) -> None:
    case = examination(12, 14, 16)
    half = resample(read_whole(case), (6, 7, 8))
    expected = resample(probability(pointwise, half)[None].astype(np.float32), case.shape)[0]
    found = ask(case, pointwise, coarse=True)
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    assert found.entropy.shape == case.shape and found.details["coarse"]


def test_flips() -> None:
    assert len(set(flips_of((4, 5, 6)))) == 8
    assert set(flips_of((1, 5, 6))) == {(), (1,), (2,), (1, 2)}


@pytest.mark.parametrize("edge", [20, 60])
@pytest.mark.parametrize(("tumour", "expected"), [(0.5, 2 * LN2), (0.01, 5.600)])
def test_a_small_tumour_weighs_the_same_before_any_background(edge: int, tumour: float, expected: float) -> None:
    found = np.full((edge,) * 3, 1e-6, np.float32)
    found[3:8, 3:8, 3:7] = tumour  # 100 voxels of 0.001 mL
    relative, unsure_ml = summary(found, binary_entropy(found.astype(float)).astype(np.float32), 0.001)
    assert relative == pytest.approx(expected, abs=1e-3)
    assert unsure_ml == pytest.approx(0.1 if tumour == 0.5 else 0)


def test_a_case_of_another_kind_is_refused(ask: Callable[..., Uncertainty]) -> None:
    case = examination(12, 14, 16)
    with pytest.raises(InputError, match="phase"):
        ask(Case("one phase", case.images[:1], case.geometry), pointwise)
